"""The topics that a client asks for whenever it connects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from clarion.client.connection import End

_BAD_REQUEST: Final = 400


@dataclass(slots=True)
class Trial:
    """A new stream with more topics, which the gateway may refuse: a bad name, or too many.

    Attributes:
        before: the topics of the stream before.
        refusal: why the gateway refused; None: it has not.
    """

    before: Sequence[str]
    refusal: str | None = None


class WantedTopics:
    """The topics in every request to connect.

    Attributes:
        names: each once, in the order in which the application asked for them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names: Sequence[str] = [*names]
        self._trial: Trial | None = None

    def add(self, topics: Iterable[str]) -> Sequence[str]:
        """Ask for more topics; return the names of before."""
        before, self.names = self.names, list(dict.fromkeys([*self.names, *topics]))
        return before

    def drop(self, topics: Collection[str]) -> None:
        """Ask for these no more."""
        self.names = [topic for topic in self.names if topic not in topics]

    def on_trial(self, before: Sequence[str]) -> Trial:
        """Let the next stream decide: if it is refused, the names of before count again."""
        self._trial = Trial(before)
        return self._trial

    def accepted(self) -> None:
        """End the trial: the gateway has taken the stream."""
        self._trial = None

    def refused(self, end: End) -> bool:
        """Go back to the names of before if a trial was refused; return whether it was."""
        trial, self._trial = self._trial, None
        if trial is None or end.code != _BAD_REQUEST:
            return False
        self.names, trial.refusal = trial.before, end.reason
        return True
