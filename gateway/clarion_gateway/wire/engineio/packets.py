"""The packets of Engine.IO 4: one in each WebSocket message. No I/O.

A text message begins with a digit, the packet's type. A binary message has no digit: all of it is
the data of a `MESSAGE`.
(https://socket.io/docs/v4/engine-io-protocol)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import msgspec

from clarion_gateway.wire.messages import Malformed

VERSION: Final = "4"
"""The value of the query's field ``EIO`` for this protocol."""

_FIRST: Final = ord("0")
_MS_PER_SECOND: Final = 1_000


class PacketType(IntEnum):
    """The digit at the beginning of a packet."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


_LAST: Final = _FIRST + max(PacketType)


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One packet.

    Attributes:
        type: decides what the data mean.
        data: text in UTF-8, or any bytes if the packet is binary.
        binary: only a `MESSAGE` can be binary.
    """

    type: PacketType
    data: bytes = b""
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Handshake:
    """The contents of the packet that opens a session.

    Attributes:
        sid: the session's id. It is a secret: a client that has it can go on with the session.
        upgrades: the transports that the client may change to.
        ping_interval_seconds: from one ping of the server to the next.
        ping_timeout_seconds: how long the client may take to answer a ping.
        max_payload_bytes: the largest message, or body of a request, that the server takes.
    """

    sid: str
    upgrades: tuple[str, ...]
    ping_interval_seconds: float
    ping_timeout_seconds: float
    max_payload_bytes: int

    def encode(self) -> bytes:
        """The `OPEN` packet. Times are whole milliseconds: some clients read nothing else."""
        return b"%d%b" % (
            PacketType.OPEN,
            msgspec.json.encode(
                {
                    "sid": self.sid,
                    "upgrades": self.upgrades,
                    "pingInterval": round(self.ping_interval_seconds * _MS_PER_SECOND),
                    "pingTimeout": round(self.ping_timeout_seconds * _MS_PER_SECOND),
                    "maxPayload": self.max_payload_bytes,
                }
            ),
        )


def decode(text: bytes) -> Packet:
    """Decode a text message.

    >>> decode(b"4hello").data
    b'hello'

    Raises:
        Malformed: it does not begin with the digit of a type.
    """
    first = text[0] if text else 0
    if not _FIRST <= first <= _LAST:
        raise Malformed("expected a packet of Engine.IO 4, which begins with a digit from 0 to 6")
    return Packet(PacketType(first - _FIRST), text[1:])


def encode(packet: Packet) -> bytes:
    """Encode a packet as a WebSocket message: the caller sends it as binary if the packet is."""
    return packet.data if packet.binary else b"%d%b" % (packet.type, packet.data)
