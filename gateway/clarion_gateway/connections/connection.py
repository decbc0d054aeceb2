"""A client's connection as hub and delivery see it, whatever its transport and wire format.

A connection is not its socket. `Connection` has the facts that the gateway knows about a client,
and `Socket` is the interface of transports. One transport may carry several connections, and a
connection may get another socket. No asyncio here. A connection is one small object; while it is
idle it has no task, no timer and no queue of its own.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Final, Protocol

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Event
from clarion_contract.events.exclusion import LIST, names_in
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.held import Held
from clarion_gateway.connections.identity import ANONYMOUS, Identity, audiences_in
from clarion_gateway.wire.format import MAIN, WireFormat

_ID_BYTES: Final = 12
# A tuple of so few streams takes less memory than a set, and is searched as fast.
_FEW_STREAMS: Final = 8
# Clients that are sent elsewhere together come back spread over this time, not at the same moment.
_RECONNECT_JITTER_MS: Final = 1_000


# Tuples of stream names, one for each kind of identity. Connections and groups share them.
_interned: dict[tuple[str, ...], tuple[str, ...]] = {}


class State(Enum):
    """The state of a connection. The hub has those that are CATCHING_UP or LIVE."""

    OPENING = "opening"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    CLOSED = "closed"


def new_id() -> str:
    """An id of a connection, which cannot be guessed."""
    return secrets.token_urlsafe(_ID_BYTES)


def discard(data: bytes) -> None:
    """Do nothing. `Connection.write` becomes this function when the connection closes."""


class Socket(Protocol):
    """The interface of a transport that a connection uses.

    Attributes:
        awaiting_pong: whether a ping was sent and nothing has come in since. The transport sets
            it, and `clarion_gateway.connections.keepalive` reads it.
    """

    awaiting_pong: bool

    @property
    def unsent_bytes(self) -> int:
        """The number of written bytes that the client has not taken yet."""
        ...

    @property
    def is_reading(self) -> bool:
        """Whether the transport reads from the client; see `pause_reading`."""
        ...

    def write(self, data: bytes) -> None:
        """Send encoded bytes to the client. Never blocks, never raises."""
        ...

    def ping(self) -> None:
        """Make the client answer, or at least keep proxies from closing the connection."""
        ...

    async def drained(self) -> None:
        """Return when the client has taken most of the bytes written, or is gone."""
        ...

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `Connection.close`."""
        ...

    def cut(self, close: Close) -> None:
        """See `Connection.cut`."""
        ...

    def pause_reading(self) -> None:
        """Stop reading for now: messages from the client wait in the kernel."""
        ...

    def resume_reading(self) -> None:
        """Read messages again."""
        ...


class NoSocket:
    """The socket of a connection whose transport is gone. It does nothing."""

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

    def cut(self, close: Close) -> None:
        """See `Socket`."""

    def pause_reading(self) -> None:
        """See `Socket`."""

    def resume_reading(self) -> None:
        """See `Socket`."""


NO_SOCKET: Final[Socket] = NoSocket()


class Connection:
    """One client.

    Attributes:
        id: cannot be guessed; names the connection in `welcome` and in an event's ``exclude``.
        format: the wire format that the client uses; one object for all connections that do.
        socket: set by the transport; `NO_SOCKET` once the transport is gone.
        state: set by the hub.
        identity: the user that the connection speaks for; set by the hub.
        shared_streams: names of the shared streams that it hears: `all`, `authenticated`. One tuple
            for all connections that hear the same. Set by the hub with `hear`.
        named_streams: names of the other streams that it hears, such as its user's. Set by the hub
            with `hear`.
        asked: audiences that it hears since it asked for them and may hear them. Set by the hub.
        given: audiences that it hears since the application gave them to its user. Set by the hub.
        write: sends encoded bytes to the client; never blocks, never raises. Set by the transport.
            It is an attribute here, not a method of ``socket``, since rounds call it for each
            recipient.
        held: events and gaps that wait while the client catches up; None: it does not. Set by the
            hub.
        data: what the application keeps for the connection; None until it keeps something. Handlers
            set it through their context.
        slot: index into the wheel of keepalive, which alone uses it; -1 while keepalive does not
            look after the connection.
    """

    __slots__ = (
        "asked", "data", "format", "given", "held", "id", "identity", "named_streams",
        "shared_streams", "slot", "socket", "state", "write",
    )  # fmt: skip

    def __init__(self, wire_format: WireFormat, socket: Socket) -> None:
        self.id = new_id()
        self.format = wire_format
        self.socket = socket
        self.state = State.OPENING
        self.identity: Identity = ANONYMOUS
        self.shared_streams: tuple[str, ...] = ()
        self.named_streams: Collection[str] = ()
        self.asked: tuple[Audience, ...] = ()
        self.given: tuple[Audience, ...] = ()
        self.write: Callable[[bytes], None] = socket.write
        self.held: Held | None = None
        self.data: dict[str, Any] | None = None
        self.slot = -1

    @property
    def audiences(self) -> list[Audience]:
        """The audiences that take it in: its identity's, those it asked for, those it was given."""
        audiences = audiences_in(self.format.namespace, self.identity)
        if not (self.asked or self.given):
            return audiences
        return list(dict.fromkeys([*audiences, *self.asked, *self.given]))

    @property
    def topics(self) -> list[str]:
        """The topics that it hears."""
        if self.format.namespace == MAIN and not (self.identity.lists or self.asked or self.given):
            return []
        return [audience.name for audience in self.audiences if audience.shown]

    def hear(self, *, shared: tuple[str, ...], named: tuple[str, ...]) -> None:
        """Set the streams that the connection hears; only the hub calls it."""
        self.shared_streams = _interned.setdefault(shared, shared)
        self.named_streams = named if len(named) <= _FEW_STREAMS else frozenset(named)

    def receives(self, event: Event) -> bool:
        """Whether an event goes to this connection. All of delivery follows this one rule."""
        stream = event.audience.stream
        hears = stream in self.shared_streams or stream in self.named_streams
        return hears and (event.exclude is None or not self.is_left_out(event))

    def is_left_out(self, event: Event) -> bool:
        """Whether an event excludes this connection."""
        exclude = event.exclude
        if exclude is None or not exclude.startswith(LIST):
            return exclude == self.id
        return self.is_one_of(names_in(exclude))

    def is_one_of(self, names: AbstractSet[str]) -> bool:
        """Whether any of these is its id, or the name of a stream that it hears."""
        return (
            self.id in names
            or not names.isdisjoint(self.shared_streams)
            or not names.isdisjoint(self.named_streams)
        )

    @property
    def carries_parts(self) -> bool:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return self.format.carries_parts

    @property
    def user(self) -> str | None:
        """The authenticated user; None while anonymous."""
        return self.identity.user

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """Tell the client why, and close. It has a few seconds to read what was written before.

        Args:
            message: encoded bytes to send before the close.
        """
        self.socket.close(close, message=message)

    def cut(self, close: Close) -> None:
        """Close at once, and drop what the client has not taken: its memory is needed.

        The client is not told why, since that would wait behind what it does not take.
        """
        self.socket.cut(close)

    def send_elsewhere(self, close: Close) -> None:
        """Close, and tell the client when to connect again; a load balancer then picks its pod."""
        after_ms = random.randrange(_RECONNECT_JITTER_MS)  # noqa: S311 - spreads load, no secret
        self.close(close, message=self.format.reconnect(after_ms, close.label))
