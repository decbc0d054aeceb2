"""The packets of Socket.IO 5: each is the text of one message of Engine.IO. No I/O.

    <type>[<attachments>-][<namespace>,][<ack id>][<JSON>]

A namespace that is left out is ``/``. A packet of a binary type announces how many binary messages
follow it; `clarion_gateway.wire.socketio.assembly` joins them.
(https://socket.io/docs/v4/socket-io-protocol)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import msgspec

from clarion_contract.events import surrogates
from clarion_contract.events.nesting import check_nesting
from clarion_gateway.wire.format import MAIN
from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.parts import ATTACHMENTS_MAX

RESERVED: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Names that no event may have: clients use them for news of their own."""

ACK_ID_MAX_DIGITS: Final = 16
NAMESPACE_MAX_BYTES: Final = 128


class PacketType(IntEnum):
    """The digit at the beginning of a packet."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


_BINARY: Final = frozenset({PacketType.BINARY_EVENT, PacketType.BINARY_ACK})
_EVENTS: Final = frozenset({PacketType.EVENT, PacketType.BINARY_EVENT})
_ACKS: Final = frozenset({PacketType.ACK, PacketType.BINARY_ACK})

_HEAD: Final = re.compile(rb"(?:(/[^,]*),?)?([0-9]*)")
_COUNT: Final = re.compile(rb"([0-9]{1,2})-")
_FIRST: Final = ord("0")
_LAST: Final = _FIRST + max(PacketType)

_arguments: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_object: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_name: msgspec.json.Decoder[str | int | float] = msgspec.json.Decoder(str | int | float)


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One packet.

    Attributes:
        type: decides which of the other fields the packet has.
        namespace: the one that it is for.
        id: digits by which the sender of an event finds the ack; empty: it wants none.
        fields: the object of a `CONNECT` or `CONNECT_ERROR`: JSON by name.
        arguments: of an event or an ack: JSON each. An event's first one is its name.
        attachments: how many binary messages follow.
    """

    type: PacketType
    namespace: str = MAIN
    id: bytes = b""
    fields: dict[str, msgspec.Raw] | None = None
    arguments: Sequence[msgspec.Raw] = ()
    attachments: int = 0

    @property
    def is_event(self) -> bool:
        """Whether it is an event, with or without attachments."""
        return self.type in _EVENTS

    @property
    def name(self) -> str:
        """The name of an event. A number is a name, too."""
        return str(_name.decode(self.arguments[0]))


def decode(text: bytes) -> Packet:
    r"""Decode a packet.

    >>> packet = decode(b'212["chat","hello"]')
    >>> packet.id, packet.name
    (b'12', 'chat')

    Args:
        text: valid UTF-8.

    Raises:
        Malformed: it is no packet, or its payload does not fit its type.
    """
    first = text[0] if text else 0
    if not _FIRST <= first <= _LAST:
        raise Malformed("expected a packet of Socket.IO 5, which begins with a digit from 0 to 6")
    type_ = PacketType(first - _FIRST)
    attachments, start = _attachments(text) if type_ in _BINARY else (0, 1)
    head = _HEAD.match(text, start)
    if head is None:  # never: it matches nothing, too
        raise Malformed("expected a packet of Socket.IO 5")
    namespace, id_ = head.group(1) or b"/", head.group(2)
    if len(namespace) > NAMESPACE_MAX_BYTES:
        raise Malformed(f"expected a namespace of at most {NAMESPACE_MAX_BYTES} bytes")
    if len(id_) > ACK_ID_MAX_DIGITS:
        raise Malformed(f"expected an ack id of at most {ACK_ID_MAX_DIGITS} digits")
    packet = _with_payload(type_, namespace.decode(), id_, text[head.end() :], attachments)
    _check_id(packet)
    return packet


def encode(packet: Packet) -> bytes:
    """Encode a packet. The binary messages that it announces follow it."""
    head = b"%d" % packet.type
    if packet.type in _BINARY:
        head += b"%d-" % packet.attachments
    payload = b""
    if packet.fields is not None:
        payload = msgspec.json.encode(packet.fields)
    elif packet.is_event or packet.type in _ACKS:
        payload = b"[%b]" % b",".join(packet.arguments)
    return head + prefix(packet.namespace) + packet.id + payload


def prefix(namespace: str) -> bytes:
    """The part of a packet that names its namespace: empty for the main one."""
    return b"" if namespace == MAIN else b"%b," % namespace.encode()


def _attachments(text: bytes) -> tuple[int, int]:
    """The number of attachments that a packet announces, and the place at which it goes on."""
    count = _COUNT.match(text, 1)
    if count is None or int(count.group(1)) > ATTACHMENTS_MAX:
        raise Malformed(f"expected the number of attachments, at most {ATTACHMENTS_MAX}, and a -")
    return int(count.group(1)), count.end()


def _with_payload(
    type_: PacketType, namespace: str, id_: bytes, payload: bytes, attachments: int
) -> Packet:
    if type_ is PacketType.DISCONNECT:
        if payload:
            raise Malformed("expected a DISCONNECT without a payload")
        return Packet(type_, namespace, id_)
    if type_ is PacketType.CONNECT and not payload:
        return Packet(type_, namespace, id_)
    try:
        check_nesting(payload)
        if type_ in {PacketType.CONNECT, PacketType.CONNECT_ERROR}:
            return Packet(type_, namespace, id_, _object.decode(payload))
        arguments = _arguments.decode(payload)
        packet = Packet(type_, namespace, id_, None, arguments, attachments)
        if type_ in _EVENTS:
            _check_name(packet)
    except RecursionError:
        raise Malformed("expected JSON that is nested less deeply") from None
    except msgspec.MsgspecError as error:
        raise Malformed(_reason(payload, error)) from None
    return packet


def _check_name(packet: Packet) -> None:
    if not packet.arguments:
        raise Malformed("expected an event's name as its first argument")
    if packet.name in RESERVED:
        raise Malformed(f"expected another name of an event: {packet.name} is reserved")


def _check_id(packet: Packet) -> None:
    """Check that acks have an id, and that nothing has one but events and acks."""
    if packet.type in _ACKS:
        if not packet.id:
            raise Malformed("expected an ACK with an id")
    elif packet.id and not packet.is_event:
        raise Malformed("expected an ack id in events and acks only")


def _reason(payload: bytes, error: msgspec.MsgspecError) -> str:
    """The fault of a payload, in words. For lone surrogates, those of msgspec mislead."""
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    if surrogates.has_lone(payload):
        return f"expected {surrogates.EXPECTED}"
    return f"expected valid JSON: {error}"
