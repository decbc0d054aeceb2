"""What a wire format must be able to say. No I/O; formats know nothing of one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from clarion_contract.events.event import Event


@dataclass(frozen=True, slots=True)
class Welcome:
    """The first thing that a client hears.

    Attributes:
        position: id from which the client can resume.
        resumed: whether everything since the client's position follows; None: it named none.
        expires_in: seconds until the token ends.
    """

    connection: str
    user: str | None
    pod: str
    position: int
    resumed: bool | None
    expires_in: int | None


class Encoder(Protocol):
    """Encodes for one wire format. Everything it returns is complete, ready for a socket."""

    @property
    def wire(self) -> str:
        """Name of the format, a metric label."""
        ...

    def event(self, event: Event) -> bytes:
        """An event."""
        ...

    def welcome(self, welcome: Welcome) -> bytes:
        """See `Welcome`."""
        ...

    def reply(self, ref: bytes, data: bytes) -> bytes:
        """A handler's answer; ``data`` is JSON and goes out as it is. ``ref``: JSON as well."""
        ...

    def error(self, ref: bytes | None, code: str, message: str) -> bytes:
        """What was wrong with a message."""
        ...

    def gap(self, position: int) -> bytes:
        """History broke: events up to ``position`` may be missing."""
        ...

    def identity(self, ref: bytes | None, user: str | None, expires_in: int | None) -> bytes:
        """The connection speaks for ``user`` from here on; None: for nobody."""
        ...

    def reconnect(self, after_ms: int, reason: str) -> bytes:
        """The connection is about to close; come back after so many milliseconds."""
        ...
