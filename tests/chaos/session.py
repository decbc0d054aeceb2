"""What one client heard on one connection, in order: what the oracle judges."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """An event, by the id that it came with and the number in its data."""

    id: int
    number: int


@dataclass(frozen=True)
class Gap:
    """The client was told that events up to ``id`` may be missing."""

    id: int


@dataclass(frozen=True)
class Identity:
    """From here on the connection speaks for ``user``; None: nobody."""

    user: str | None


Heard = Event | Gap | Identity


@dataclass
class Session:
    """One connection from `welcome` to its end.

    Attributes:
        since: the position that the client came with; None: none.
        start: the position in `welcome`.
        resumed: as in `welcome`.
        user: whom the connection spoke for at `welcome`.
        end: close code, or what the client saw instead of one; "" where it was open to the last.
    """

    since: int | None
    start: int
    resumed: bool | None
    user: str | None
    heard: list[Heard] = field(default_factory=list)
    end: str = ""

    @property
    def position(self) -> int:
        """Where the client stands: the last id in a `welcome`, an event or a gap."""
        for heard in reversed(self.heard):
            if not isinstance(heard, Identity):
                return heard.id
        return self.start
