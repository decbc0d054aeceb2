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
from typing import Final

from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.held import Held
from clarion_gateway.connections.identity import ANONYMOUS, Identity
from clarion_gateway.wire.format import WireFormat

_ID_BYTES: Final = 12
# Those who are sent elsewhere together come back within this time, not in the same instant.
_RECONNECT_JITTER_MS: Final = 1_000


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
        format: the wire format that the client speaks; shared by all connections that do.
        state: the hub's, which writes it.
        identity: for whom it speaks; the hub's, which writes it.
        write: hands encoded bytes to the transport; never blocks, never raises.
        held: what came in while the client catches up with what it missed; None: it does not. The
            hub's.
        awaiting_pong: a ping was sent and nothing has come in since. The transport writes it, and
            `clarion_gateway.connections.keepalive` reads it.
        slot: of the wheel of keepalive, which alone uses it; -1 while it does not look after the
            connection.
    """

    __slots__ = (
        "awaiting_pong", "format", "held", "id", "identity", "slot", "state", "write",
    )  # fmt: skip

    def __init__(self, wire_format: WireFormat) -> None:
        self.id = secrets.token_urlsafe(_ID_BYTES)
        self.format = wire_format
        self.state = State.OPENING
        self.identity: Identity = ANONYMOUS
        self.write: Callable[[bytes], None] = discard
        self.held: Held | None = None
        self.awaiting_pong = False
        self.slot = -1

    @property
    def user(self) -> str | None:
        """The authenticated user; None while anonymous."""
        return self.identity.user

    @property
    @abstractmethod
    def is_reading(self) -> bool:
        """Whether messages and pongs are taken from the client; see `pause_reading`."""

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
        self.close(close, message=self.format.reconnect(after_ms, close.label))

    @abstractmethod
    def pause_reading(self) -> None:
        """Take no more from the client for now: its messages wait in the kernel."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Take messages again."""
