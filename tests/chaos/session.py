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
    """From here on the connection belongs to ``user``; None: to an anonymous client.

    Attributes:
        topics: all that it receives from here on.
    """

    user: str | None
    topics: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Topics:
    """From here on the connection receives these topics, and no others.

    Attributes:
        id: the new ones bring every event above it; None: the client has only given some up.
    """

    topics: frozenset[str]
    id: int | None = None


Heard = Event | Gap | Identity | Topics


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
        asked: topics that the client named when it connected, all of which its token grants.
        topics: those that it received from `welcome` on.
        not_resumed: of these, those of which events since the client's position are lost.
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
    asked: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    not_resumed: frozenset[str] = frozenset()

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
            if not isinstance(heard, Identity) and heard.id is not None:
                return heard.id
        return self.start

    @property
    def last_topics(self) -> frozenset[str]:
        """The topics that the connection received in the end."""
        for heard in reversed(self.heard):
            if isinstance(heard, Identity | Topics):
                return heard.topics
        return self.topics
