"""A client's connection as hub and delivery see it, whatever its transport and wire format.

Transports derive from `Connection`; no asyncio here. A connection is one small object: no task, no
timer, no queue of its own while it is idle.
"""

from __future__ import annotations

import random
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

from clarion_contract.events.event import Event
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.held import Held
from clarion_gateway.wire.encoder import Encoder

if TYPE_CHECKING:
    from clarion_contract.service.token_bucket import TokenBucket
    from clarion_gateway.clients.inbox import Inbox

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


class Connection(ABC):
    """One client.

    Attributes:
        id: unguessable; names the connection in `welcome` and in an event's ``exclude``.
        encoder: of the wire format that the client speaks; shared by all connections that do.
        user: the authenticated user, None while anonymous.
        shared_streams: names of the streams without a name that it hears; one tuple for all
            connections that hear the same.
        named_streams: names of the other streams that it hears, such as its user's.
        expires_at: when the user's token ends, seconds since the epoch; None while anonymous.
        token_id: that token's ``jti``; None: it has none.
        issued_at: that token's ``iat``, seconds since the epoch; None: it does not say.
        write: hands encoded bytes to the transport; never blocks, never raises.
        held: what came in while the client catches up with what it missed; None: it does not.
        awaiting_pong: a ping was sent and nothing has come in since.
        malformed: messages that were not of the protocol, so far.
        slot: of the sweeper's wheel; -1 while it does not look after the connection.
        bucket: the budget of inbound messages; None until the first message.
        inbox: messages that wait for their handlers; None while there are none.
    """

    __slots__ = (
        "awaiting_pong",
        "bucket",
        "encoder",
        "expires_at",
        "held",
        "id",
        "inbox",
        "issued_at",
        "malformed",
        "named_streams",
        "shared_streams",
        "slot",
        "state",
        "token_id",
        "user",
        "write",
    )  # fmt: skip

    def __init__(self, encoder: Encoder) -> None:
        self.id = secrets.token_urlsafe(_ID_BYTES)
        self.encoder = encoder
        self.state = State.OPENING
        self.user: str | None = None
        self.shared_streams: tuple[str, ...] = ()
        self.named_streams: tuple[str, ...] = ()
        self.expires_at: float | None = None
        self.token_id: str | None = None
        self.issued_at: float | None = None
        self.write: Callable[[bytes], None] = discard
        self.held: Held | None = None
        self.awaiting_pong = False
        self.malformed = 0
        self.slot = -1
        self.bucket: TokenBucket | None = None
        self.inbox: Inbox | None = None

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
    @abstractmethod
    def unsent_bytes(self) -> int:
        """Bytes that the client has not taken yet."""

    @abstractmethod
    def ping(self) -> None:
        """Make the client show that it is alive, or at least keep proxies from closing."""

    @abstractmethod
    async def drained(self) -> None:
        """Return when the client has taken most of what was written, or is gone."""

    @abstractmethod
    def close(self, close: Close, *, message: bytes = b"") -> None:
        """Tell the client why and close, letting it take what was written before, for a while.

        Args:
            message: encoded, sent before the close.
        """

    def send_elsewhere(self, close: Close) -> None:
        """Close, and tell the client when to come back, to wherever it is led then."""
        after_ms = random.randrange(_RECONNECT_JITTER_MS)  # noqa: S311 - spreads load, no secret
        self.close(close, message=self.encoder.reconnect(after_ms, close.label))

    @abstractmethod
    def pause_reading(self) -> None:
        """Take no more from the client for now: its messages wait in the kernel."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Take messages again."""
