"""What a wire format must be able to say and to read. No I/O; formats do not know one another.

To add one:

1. Write a `WireFormat` in a file of its own in this package.
2. Add a row to `clarion_gateway.transports.routes.ROUTES`: under a path, or under a subprotocol of
   a WebSocket path.

Nothing else in the gateway names a format. All connections that speak a format share one object,
and a round encodes each event once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from clarion_contract.events.event import Event
from clarion_gateway.wire.messages import Authenticate, Message


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


class WireFormat(Protocol):
    """Encodes and decodes for one wire format.

    Everything it returns is complete, ready for a socket. It returns nothing (``b""``) where the
    format has no words for what it is asked to say.
    """

    @property
    def name(self) -> str:
        """Name of the format: the metric label ``wire``."""
        ...

    @property
    def ping(self) -> bytes:
        """What makes a client show that it is alive, or at least keeps proxies from closing."""
        ...

    def decode(self, message: bytes) -> Message | Authenticate:
        """What a client said.

        Args:
            message: one whole message as the transport took it out of its frames; valid UTF-8.

        Raises:
            Malformed: it is not of the format.
        """
        ...

    def event(self, event: Event) -> bytes:
        """An event."""
        ...

    def welcome(self, welcome: Welcome) -> bytes:
        """See `Welcome`."""
        ...

    def reply(self, ref: bytes, data: bytes) -> bytes:
        """A handler's answer; ``data`` is JSON. ``ref`` is the message's."""
        ...

    def error(self, ref: bytes | None, code: str, message: str) -> bytes:
        """What was wrong with a message; ``ref`` is None where it could not be read."""
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

    def closing(self, label: str, reason: str) -> bytes:
        """Why the connection closes, where no close frame of the transport says so."""
        ...


@dataclass(frozen=True, slots=True)
class Framed:
    """A format in the two ways in which a WebSocket may frame it.

    Attributes:
        deflated: for clients with which compression was agreed; None: they get ``plain`` too.
    """

    plain: WireFormat
    deflated: WireFormat | None = None


Formats = Mapping[str | None, Framed]
"""Formats by WebSocket subprotocol, the preferred one first; None: the client offers none."""


def default_of(formats: Formats) -> WireFormat:
    """What a client speaks as long as nothing else has been agreed on."""
    return (formats.get(None) or next(iter(formats.values()))).plain
