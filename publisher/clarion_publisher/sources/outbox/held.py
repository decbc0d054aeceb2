"""Audiences whose rows wait: on a Redis Cluster, those of a primary that is away. Pure.

Their rows stay in the table, at its head. They are left out for a moment, so that the rows behind
them, which go to other primaries, do not wait as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

# As long as a client of a cluster takes to learn that another node is the primary now.
_SECONDS: Final = 1.0
# Each one is an argument of the query. If there are more, all rows wait.
_MAX: Final = 5_000


class Held:
    """The audiences to leave out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[bytes, float] = {}

    def hold(self, audiences: Iterable[bytes]) -> None:
        """Leave these out for a while, as far as there is room."""
        until = self._clock() + _SECONDS
        for audience in audiences:
            if len(self._until) < _MAX or audience in self._until:
                self._until[audience] = until

    @property
    def audiences(self) -> Sequence[str]:
        """Those that are left out now."""
        now = self._clock()
        self._until = {each: until for each, until in self._until.items() if until > now}
        return [each.decode(errors="ignore") for each in self._until]
