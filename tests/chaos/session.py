"""The messages that one client received on one connection, in order. The oracle judges them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.chaos.revoking import Token


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
        token: what it came with.
        dialled_us: when the client began to connect.
        welcomed_us: when `welcome` had come.
        said: numbers of the events that it sent itself, which it must not hear.
    """

    since: int | None
    start: int
    resumed: bool | None
    user: str | None
    heard: list[Heard] = field(default_factory=list)
    end: str = ""
    token: Token | None = None
    dialled_us: int = 0
    welcomed_us: int = 0
    said: set[int] = field(default_factory=set)

    @property
    def users(self) -> set[str]:
        """Everybody for whom it spoke."""
        named = {heard.user for heard in self.heard if isinstance(heard, Identity)} | {self.user}
        return {user for user in named if user is not None}

    @property
    def changed(self) -> bool:
        """Whether it spoke for more than one."""
        return any(isinstance(heard, Identity) for heard in self.heard)

    @property
    def position(self) -> int:
        """Where the client stands: the last id in a `welcome`, an event or a gap."""
        for heard in reversed(self.heard):
            if not isinstance(heard, Identity):
                return heard.id
        return self.start
