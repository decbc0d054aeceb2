"""The wire format of a Socket.IO client: events become ``["<type>",<data>]`` (docs/protocol.md).

It encodes what one namespace is sent. Delivery shares each frame between all clients of the
format. The parts that belong to the session (pings, CONNECT, DISCONNECT) are the transport's.

An event's frame is put together around the producer's bytes. Its type needs no escaping
(`clarion_contract.events.event.TYPE_PATTERN`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from clarion_contract.events.event import Event
from clarion_gateway.wire import frames
from clarion_gateway.wire.engineio.packets import PacketType as EnginePacketType
from clarion_gateway.wire.format import (
    MAIN,
    Framed,
    PresenceTold,
    TopicsHeard,
    Welcome,
    past_fields,
)
from clarion_gateway.wire.messages import (
    NO_REF,
    Answer,
    ClientMessage,
    Malformed,
    Message,
    Subscribe,
    Unsubscribe,
)
from clarion_gateway.wire.parts import Parts
from clarion_gateway.wire.socketio import packets
from clarion_gateway.wire.socketio.packets import RESERVED, Packet, PacketType, prefix

_json = msgspec.json.Encoder()
_topics: msgspec.json.Decoder[tuple[str, ...] | str] = msgspec.json.Decoder(tuple[str, ...] | str)

GAP: Final = "$gap"
"""Name of the event that tells of a loss. No event of a producer has a type that begins with $."""

PRESENCE: Final = "$presence"
"""Name of the event that tells of the members of a topic."""

SUBSCRIBED: Final = "$subscribed"
"""Name of the event that tells the past of topics which the client did not ask for."""

SUBSCRIBE: Final = "$subscribe"
UNSUBSCRIBE: Final = "$unsubscribe"
"""Names of the events by which a client asks for topics, and gives them up."""

EXCEPTION: Final = "exception"
"""Name of the event that tells of a refused message, as clients of NestJS expect it."""


class SocketIoFormat:
    """The messages to one namespace.

    Args:
        name: see `clarion_gateway.wire.format.WireFormat`.
        frame: puts a message of Engine.IO, its digit included, into the transport's frame.
        namespace: the clients' namespace.
    """

    visible_ping = ping = b""  # the transport keeps the heartbeat of Engine.IO
    carries_parts = True
    with_topics: SocketIoFormat | None = None

    def __init__(self, name: str, frame: Callable[[bytes], bytes], namespace: str = MAIN) -> None:
        self.name = name
        self.namespace = namespace
        self._frame = frame
        message = b"%d" % EnginePacketType.MESSAGE
        place = prefix(namespace)
        self._connect = message + b"%d" % PacketType.CONNECT + place
        self._connect_error = message + b"%d" % PacketType.CONNECT_ERROR + place
        self._event = message + b"%d" % PacketType.EVENT + place
        self._ack = message + b"%d" % PacketType.ACK + place
        self._place = place
        self._binary_event = message + b"%d" % PacketType.BINARY_EVENT
        self._binary_ack = message + b"%d" % PacketType.BINARY_ACK
        self.disconnect = frame(message + b"%d" % PacketType.DISCONNECT + place)

    def decode(self, message: bytes) -> ClientMessage:
        """See `clarion_gateway.wire.format.WireFormat`.

        Accepts the text of an event without attachments, without Engine.IO's digit.
        """
        packet = packets.decode(message)
        if packet.type is not PacketType.EVENT:
            raise Malformed("expected an event")
        return message_of(packet)

    def event(self, event: Event) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        arguments = arguments_of(event)
        if not arguments:
            return self._frame(b'%b["%b"]' % (self._event, _name(event.type)))
        return self._emitted(b"", event.type, arguments)

    def welcome(self, welcome: Welcome) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`: the answer to CONNECT."""
        return self._frame(self._connect + _json.encode({"sid": welcome.connection}))

    def refused(self, code: str, message: str) -> bytes:
        """Refuse a CONNECT for good. The client does not come back by itself.

        Args:
            code: for the client's program, as ``err.data.code``.
            message: for people, as ``err.message``.
        """
        fields = {"message": message, "data": {"code": code}}
        return self._frame(self._connect_error + _json.encode(fields))

    def reply(self, ref: bytes, data: bytes, parts: Parts | None = None) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. Without an ack id, nobody waits for it."""
        if not ref:
            return b""
        if parts is not None and parts.attachments:
            return self._attached(self._binary_ack, ref, parts.arguments, parts.attachments)
        return self._frame(b"%b%b[%b]" % (self._ack, ref, data))

    def message(self, type_: str, data: bytes, parts: Parts | None = None) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`: an event, to this client only."""
        return self._said(b"", type_, data, parts)

    def ask(self, ref: bytes, type_: str, data: bytes, parts: Parts | None = None) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`: an event that wants an ack."""
        return self._said(ref, type_, data, parts)

    def error(self, ref: bytes | None, code: str, message: str) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`: an event, and the ack if one is wanted."""
        fields = {"status": "error", "code": code, "message": message}
        return self._named(EXCEPTION, fields) + self.reply(ref or b"", _json.encode(fields))

    def gap(self, position: int) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. Socket.IO has no message for it."""
        return self._named(GAP, {"id": str(position)})

    def identity(
        self,
        ref: bytes | None,  # noqa: ARG002
        user: str | None,  # noqa: ARG002
        expires_in: int | None,  # noqa: ARG002
        heard: TopicsHeard | None = None,  # noqa: ARG002
    ) -> bytes:
        """Never called: a client logs in by connecting again."""
        raise AssertionError("Socket.IO carries no log-in")

    def subscribed(
        self,
        ref: bytes,
        position: int,  # noqa: ARG002
        heard: TopicsHeard,
        past: Sequence[Event] | None = None,
    ) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. The ack tells the topics."""
        fields = {**heard.fields, **past_fields(past)}
        if ref == NO_REF and past:
            return self._named(SUBSCRIBED, fields)
        return self._acked(ref, fields)

    def unsubscribed(self, ref: bytes, topics: Sequence[str], kept: Sequence[str]) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. The ack tells the topics."""
        return self._acked(ref, {"topics": topics, **({"kept": kept} if kept else {})})

    def presence(self, told: PresenceTold) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. Socket.IO has no message for it."""
        return self._named(PRESENCE, told.fields)

    def reconnect(self, after_ms: int, reason: str) -> bytes:  # noqa: ARG002
        """Return nothing: clients come back by a back-off of their own."""
        return b""

    def closing(self, label: str, reason: str) -> bytes:  # noqa: ARG002
        """Return nothing: every close is a lost transport to clients."""
        return b""

    def _acked(self, ref: bytes, fields: Mapping[str, Sequence[object]]) -> bytes:
        """An ack; nothing if the application changed the topics, since nobody asked."""
        return self.reply(b"" if ref == NO_REF else ref, _json.encode(fields))

    def _said(self, ref: bytes, type_: str, data: bytes, parts: Parts | None) -> bytes:
        """An event of the application to one client."""
        if parts is None:
            return self._emitted(ref, type_, data)
        if not parts.attachments:
            return self._emitted(ref, type_, parts.arguments)
        arguments = b'"%b",%b' % (_name(type_), parts.arguments)
        return self._attached(self._binary_event, ref, arguments, parts.attachments)

    def _emitted(self, ref: bytes, type_: str, arguments: bytes) -> bytes:
        return self._frame(b'%b%b["%b",%b]' % (self._event, ref, _name(type_), arguments))

    def _attached(
        self, head: bytes, ref: bytes, arguments: bytes, attachments: Sequence[bytes]
    ) -> bytes:
        """A packet and its attachments, in one piece: nothing may come between them."""
        text = b"%b%d-%b%b[%b]" % (head, len(attachments), self._place, ref, arguments)
        return self._frame(text) + b"".join(map(frames.binary, attachments))

    def _named(self, name: str, fields: dict[str, Any]) -> bytes:
        return self._frame(self._event + _json.encode([name, fields]))


def _name(type_: str) -> bytes:
    """The name of an event. Clients would close on a reserved name: it becomes ``$<name>``."""
    return b"%b%b" % (b"$" if type_ in RESERVED else b"", type_.encode())


def arguments_of(event: Event) -> bytes:
    """The arguments of an event, with commas between them; empty: it has none."""
    data = event.data
    if not event.arguments or not (data == b"null" or data.startswith(b"[")):
        return data
    return data[1:-1] if data.startswith(b"[") else b""


def message_of(packet: Packet) -> ClientMessage:
    """The message that an event of a client is.

    Its data are the event's argument. None gives ``null``, and several give an array of them.

    Raises:
        Malformed: it asks for topics, and its argument is neither a name nor a list of names.
    """
    name, data = packet.name, _joined(packet.arguments[1:])
    if name == SUBSCRIBE:
        return Subscribe(_names(data), packet.id)
    if name == UNSUBSCRIBE:
        return Unsubscribe(_names(data), packet.id)
    return Message(name, data, packet.id)


def answer_of(packet: Packet) -> Answer:
    """The answer to a question that an ack of a client is; its data are as in `message_of`."""
    return Answer(packet.id, _joined(packet.arguments))


def _joined(arguments: Sequence[msgspec.Raw]) -> bytes:
    if len(arguments) == 1:
        return bytes(arguments[0])
    return b"[%b]" % b",".join(arguments) if arguments else b"null"


def _names(data: bytes) -> tuple[str, ...]:
    try:
        names = _topics.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        raise Malformed("expected the name of a topic, or a list of names") from None
    return (names,) if isinstance(names, str) else names


def invalid_namespace(namespace: str) -> bytes:
    """The message of Engine.IO that refuses a CONNECT to a namespace that there is not."""
    fields = {"message": msgspec.Raw(b'"Invalid namespace"')}
    packet = Packet(PacketType.CONNECT_ERROR, namespace, fields=fields)
    return b"%d%b" % (EnginePacketType.MESSAGE, packets.encode(packet))


SOCKETIO: Final = SocketIoFormat("socketio", frames.text)
FRAMED: Final = Framed(SOCKETIO)
