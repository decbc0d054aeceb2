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
    """From here on the connection belongs to ``user``; None: to an anonymous client."""

    user: str | None


Heard = Event | Gap | Identity


@dataclass
class Session:
    """One connection from `welcome` to its end.

    Attributes:
        since: the position that the client sent; None: none.
        start: the position in `welcome`.
        resumed: as in `welcome`.
        user: the connection's user at `welcome`.
        end: close code, or the error that the client saw; "" if the connection stayed open.
        token: the token that the client sent.
        dialled_us: when the client began to connect.
        welcomed_us: when `welcome` had come.
        said: numbers of the events that the client sent itself and must not receive.
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
        """All identities of the connection."""
        named = {heard.user for heard in self.heard if isinstance(heard, Identity)} | {self.user}
        return {user for user in named if user is not None}

    @property
    def changed(self) -> bool:
        """Whether the connection had more than one identity."""
        return any(isinstance(heard, Identity) for heard in self.heard)

    @property
    def position(self) -> int:
        """The client's position: the last id in a `welcome`, an event or a gap."""
        for heard in reversed(self.heard):
            if not isinstance(heard, Identity):
                return heard.id
        return self.start
