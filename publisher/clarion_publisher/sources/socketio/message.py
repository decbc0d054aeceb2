"""One message of a producer, in a form that all kinds of producers share. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

STREAM: Final = "stream"
EMITTER: Final = "emitter"
PYTHON: Final = "python"
PRODUCERS: Final = (STREAM, EMITTER, PYTHON)
"""The kinds of producers: metric labels."""

MAIN: Final = "/"
"""The namespace of clients that name none."""

BINARY: Final = "binary"
MALFORMED: Final = "malformed"
PICKLE: Final = "pickle"
TOO_LARGE: Final = "too_large"
TOO_MANY_ROOMS: Final = "too_many_rooms"
UNSUPPORTED: Final = "unsupported"
UNREADABLE: Final = (BINARY, MALFORMED, PICKLE, TOO_LARGE, TOO_MANY_ROOMS, UNSUPPORTED)
"""Why a message cannot be read: metric labels, beside the kinds of refusals of the ingestion."""

ROOMS_MAX: Final = 1_000
"""Rooms that one message may name: each costs an event, or a change of topics."""


class Unreadable(Exception):
    """A message that can never be published.

    Attributes:
        reason: one of `UNREADABLE`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """The sockets that a message is for.

    Attributes:
        namespace: such as ``/`` or ``/admin``.
        rooms: sockets in any of them; empty: all of the namespace.
        without: but not those in any of these rooms. A socket's id is a room, too.
    """

    namespace: str
    rooms: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.namespace.startswith("/"):
            shown = repr(self.namespace[:40])
            raise Unreadable(MALFORMED, f"expected a namespace that begins with /, got {shown}")
        _check_count(len(self.rooms) + len(self.without))


@dataclass(frozen=True, slots=True)
class Emit:
    """An event.

    Attributes:
        arguments: JSON texts, in UTF-8; their syntax is not checked yet.
        volatile: it may be lost.
    """

    target: Target
    name: str
    arguments: tuple[bytes, ...]
    volatile: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """Sockets join rooms, or leave them."""

    target: Target
    rooms: tuple[str, ...]
    deed: Literal["join", "leave"]

    def __post_init__(self) -> None:
        _check_count(len(self.rooms))


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Sockets are disconnected. Their clients do not come back by themselves."""

    target: Target


Command = Change | Disconnect
Content = Emit | Command


def _check_count(rooms: int) -> None:
    if rooms > ROOMS_MAX:
        raise Unreadable(TOO_MANY_ROOMS, f"expected at most {ROOMS_MAX} rooms")
