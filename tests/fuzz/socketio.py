"""Bytes of clients of Socket.IO: packets of Engine.IO and Socket.IO, by themselves and on a session."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from clarion_gateway.wire.engineio import packets as engine
from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.socketio import packets
from clarion_gateway.wire.socketio.assembly import Assembly
from clarion_gateway.wire.socketio.recovery import Recovery
from tests.fuzz.answers import check_answer
from tests.fuzz.gateway import running_gateway
from tests.fuzz.target import Broken
from tests.fuzz.transport import piece_bytes
from tests.integration.sockets import BINARY, TEXT, frame

_MESSAGE_MAX_BYTES = 1_024
_BINARY_MARK = b"b"
_HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)


def parse_packets(data: bytes) -> None:
    """Messages of one session, a line each; those that begin with ``b`` are binary."""
    assembly = Assembly(_MESSAGE_MAX_BYTES)
    try:
        for message, is_binary in _messages(data):
            packet = assembly.binary(message) if is_binary else _text(assembly, message)
            if assembly.held_bytes > _MESSAGE_MAX_BYTES + len(message):
                raise Broken(f"holds {assembly.held_bytes} bytes")
            if packet is not None:
                _check_same(packet)
    except Malformed as error:
        if not str(error).isprintable():
            raise Broken(f"no words: {error!r}") from None


def parse_session(data: bytes) -> None:
    """The same messages, as frames on a session."""
    with running_gateway() as gateway:
        gateway.transport.say(_HANDSHAKE, 1 << 20)
        for message, is_binary in _messages(data[1:]):
            wrapped = frame(BINARY if is_binary else TEXT, message)
            gateway.transport.say(wrapped, piece_bytes(data))
        check_answer(bytes(gateway.transport.written), is_json=False)


def parse_pid(data: bytes) -> None:
    """The words by which a client recovers: nobody can make them up."""
    recovery = Recovery()
    recovery.key = b"k" * 32
    text = data.decode(errors="surrogateescape")
    if recovery.read(text, "alice") is not None or recovery.read(text, None) is not None:
        raise Broken(f"{text!r} was taken for a pid")


def _messages(data: bytes) -> Iterator[tuple[bytes, bool]]:
    for line in data.split(b"\n"):
        if line.startswith(_BINARY_MARK):
            yield line[1:], True
        else:
            yield line, False


def _text(assembly: Assembly, message: bytes) -> packets.Packet | None:
    try:
        message.decode()  # as transports do first
    except UnicodeDecodeError:
        return None
    packet = engine.decode(message)
    if engine.encode(packet) != message:
        raise Broken(f"{message!r} came back as {engine.encode(packet)!r}")
    return assembly.text(packet.data) if packet.type is engine.PacketType.MESSAGE else None


def _check_same(packet: packets.Packet) -> None:
    """What was read is the same when it is written and read again."""
    again = packets.decode(packets.encode(packet))
    if msgspec.json.encode(again) != msgspec.json.encode(packet):
        raise Broken(f"{packet!r} came back as {again!r}")
