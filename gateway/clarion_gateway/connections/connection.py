"""A client's connection as hub and delivery see it, whatever its transport and wire format.

A connection is not its socket: `Connection` is what the gateway knows of a client, `Socket` what
transports provide. One transport may carry several connections, and a connection may be given
another socket. No asyncio here. A connection is one small object: no task, no timer, no queue of
its own while it is idle.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from clarion_contract.events.event import Event
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.held import Held
from clarion_gateway.connections.identity import ANONYMOUS, Identity
from clarion_gateway.wire.format import WireFormat

_ID_BYTES: Final = 12
# Those who are sent elsewhere together come back within this time, not in the same instant.
_RECONNECT_JITTER_MS: Final = 1_000


# There are as many as there are kinds of identity: connections share them, and so do groups.
_interned: dict[tuple[str, ...], tuple[str, ...]] = {}


class State(Enum):
    """Where a connection stands. The hub holds it from CATCHING_UP to LIVE."""

    OPENING = "opening"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    CLOSED = "closed"


def discard(data: bytes) -> None:
    """What `Connection.write` becomes when the connection closes."""


class Socket(Protocol):
    """What a connection needs of a transport.

    Attributes:
        awaiting_pong: a ping was sent and nothing has come in since. The transport writes it, and
            `clarion_gateway.connections.keepalive` reads it.
    """

    awaiting_pong: bool

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the client has not taken yet."""
        ...

    @property
    def is_reading(self) -> bool:
        """Whether messages and pongs are taken from the client; see `pause_reading`."""
        ...

    def write(self, data: bytes) -> None:
        """Hand encoded bytes to the client; never blocks, never raises."""
        ...

    def ping(self) -> None:
        """Make the client show that it is alive, or at least keep proxies from closing."""
        ...

    async def drained(self) -> None:
        """Return when the client has taken most of what was written, or is gone."""
        ...

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `Connection.close`."""
        ...

    def pause_reading(self) -> None:
        """Take no more from the client for now: its messages wait in the kernel."""
        ...

    def resume_reading(self) -> None:
        """Take messages again."""
        ...


class _NoSocket:
    """The socket of a connection whose transport is gone: nothing is sent, nobody is waited for."""

    __slots__ = ()

    awaiting_pong = False
    unsent_bytes = 0
    is_reading = False

    def write(self, data: bytes) -> None:
        """See `Socket`."""

    def ping(self) -> None:
        """See `Socket`."""

    async def drained(self) -> None:
        """See `Socket`."""

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `Socket`."""

    def pause_reading(self) -> None:
        """See `Socket`."""

    def resume_reading(self) -> None:
        """See `Socket`."""


NO_SOCKET: Final[Socket] = _NoSocket()


class Connection:
    """One client.

    Attributes:
        id: unguessable; names the connection in `welcome` and in an event's ``exclude``.
        format: the wire format that the client speaks; shared by all connections that do.
        socket: the transport's, which writes it; `NO_SOCKET` once the transport is gone.
        state: the hub's, which writes it.
        identity: for whom it speaks; the hub's, which writes it.
        shared_streams: names of the streams without a name that it hears; one tuple for all
            connections that hear the same. The hub's, by `hear`, as are ``named_streams``.
        named_streams: names of the other streams that it hears, such as its user's.
        write: hands encoded bytes to the client; never blocks, never raises. It stands here and not
            behind ``socket``, since rounds call it for each recipient: the transport writes it.
        held: what came in while the client catches up with what it missed; None: it does not. The
            hub's.
        slot: of the wheel of keepalive, which alone uses it; -1 while it does not look after the
            connection.
    """

    __slots__ = (
        "format", "held", "id", "identity", "named_streams", "shared_streams", "slot", "socket",
        "state", "write",
    )  # fmt: skip

    def __init__(self, wire_format: WireFormat, socket: Socket) -> None:
        self.id = secrets.token_urlsafe(_ID_BYTES)
        self.format = wire_format
        self.socket = socket
        self.state = State.OPENING
        self.identity: Identity = ANONYMOUS
        self.shared_streams: tuple[str, ...] = ()
        self.named_streams: tuple[str, ...] = ()
        self.write: Callable[[bytes], None] = socket.write
        self.held: Held | None = None
        self.slot = -1

    def hear(self, *, shared: tuple[str, ...], named: tuple[str, ...]) -> None:
        """Hear these streams and no others; the hub calls it."""
        self.shared_streams = _interned.setdefault(shared, shared)
        self.named_streams = named

    def receives(self, event: Event) -> bool:
        """Whether an event is for this connection: the one rule of delivery."""
        stream = event.audience.stream
        return event.exclude != self.id and (
            stream in self.shared_streams or stream in self.named_streams
        )

    @property
    def user(self) -> str | None:
        """The authenticated user; None while anonymous."""
        return self.identity.user

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """Tell the client why and close, letting it take what was written before, for a while.

        Args:
            message: encoded, sent before the close.
        """
        self.socket.close(close, message=message)

    def send_elsewhere(self, close: Close) -> None:
        """Close, and tell the client when to come back, to wherever it is led then."""
        after_ms = random.randrange(_RECONNECT_JITTER_MS)  # noqa: S311 - spreads load, no secret
        self.close(close, message=self.format.reconnect(after_ms, close.label))
