"""Reads what `@socket.io/redis-streams-emitter` adds to a Redis stream. Pure.

An entry has the fields ``nsp``, ``type`` and ``data``; see ``ClusterMessage`` of Socket.IO's
adapters. Servers with the adapter for Redis streams write the same messages, and others that they
send to each other, such as heartbeats.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from clarion_publisher.sources.socketio.message import (
    MALFORMED,
    UNSUPPORTED,
    Change,
    Content,
    Disconnect,
    Emit,
    Target,
    Unreadable,
)
from clarion_publisher.sources.socketio.msgpack import json_of, read_msgpack

_BROADCAST: Final = b"3"
_JOIN: Final = b"4"
_LEAVE: Final = b"5"
_DISCONNECT: Final = b"6"
_SERVER_SIDE_EMIT: Final = b"9"
_READ: Final = (_BROADCAST, _JOIN, _LEAVE, _DISCONNECT)
_EMITTER: Final = b"emitter"

Room = str | int


class Flags(Struct, frozen=True):
    """The flags of a broadcast that matter here."""

    volatile: bool = False


class Options(Struct, frozen=True):
    """The sockets that a message is for."""

    rooms: tuple[Room, ...] = ()
    without: tuple[Room, ...] = msgspec.field(name="except", default=())
    flags: Flags = Flags()

    def target(self, namespace: str) -> Target:
        """The same in the form of all producers."""
        return Target(namespace, texts(self.rooms), texts(self.without))


class _JsonPacket(Struct):
    data: tuple[msgspec.Raw, ...]
    type: int = 2
    nsp: str | None = None


class _JsonBroadcast(Struct):
    packet: _JsonPacket
    opts: Options = Options()


class _Packet(Struct):
    data: tuple[Any, ...]
    type: int = 2
    nsp: str | None = None


class _Broadcast(Struct):
    packet: _Packet
    opts: Options = Options()


class _Command(Struct):
    opts: Options
    rooms: tuple[Room, ...] = ()


_json_broadcast: Final = msgspec.json.Decoder(_JsonBroadcast, strict=False)
_command: Final = msgspec.json.Decoder(_Command)
_name: Final = msgspec.json.Decoder(str | int)


def texts(rooms: Sequence[Room]) -> tuple[str, ...]:
    """Rooms as texts, each once: JavaScript lets numbers name rooms."""
    return tuple(dict.fromkeys(map(str, rooms)))


def read_entry(fields: Mapping[bytes, bytes]) -> Content | None:
    """The content of an entry; None: it is a message between servers.

    Raises:
        Unreadable: it is meant for clients, and cannot be read.
    """
    kind = fields.get(b"type")
    if kind == _SERVER_SIDE_EMIT and fields.get(b"uid") == _EMITTER:
        raise Unreadable(UNSUPPORTED, "serverSideEmit is for servers of Socket.IO")
    if kind is not None and kind not in _READ:
        return None
    try:
        return _read(kind or b"", fields[b"nsp"].decode(), fields[b"data"])
    except KeyError as error:
        raise Unreadable(MALFORMED, f"expected the field {error.args[0].decode()}") from None
    except UnicodeDecodeError:
        raise Unreadable(MALFORMED, "expected text in UTF-8") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unreadable(MALFORMED, f"expected a message: {str(error)[:100]}") from None


def event_of(
    target: Target, namespace: str | None, arguments: Sequence[Any], *, volatile: bool
) -> Emit:
    """An event whose packet came as MessagePack.

    Raises:
        Unreadable: the packet is of another namespace, or has no name; or see `json_of`.
    """
    if namespace not in (None, target.namespace):
        raise Unreadable(MALFORMED, "expected a packet of the same namespace")
    if not arguments or not isinstance(arguments[0], str | int):
        raise Unreadable(MALFORMED, "expected the name of an event")
    values = tuple(json_of(each) for each in arguments[1:])
    return Emit(target, str(arguments[0]), values, volatile=volatile)


def _read(kind: bytes, namespace: str, data: bytes) -> Content:
    if kind == _BROADCAST:
        return _broadcast(namespace, data)
    command = _command.decode(data)
    target = command.opts.target(namespace)
    if kind == _DISCONNECT:
        return Disconnect(target)
    if kind not in (_JOIN, _LEAVE):
        raise Unreadable(MALFORMED, "expected the field type")
    return Change(target, texts(command.rooms), "join" if kind == _JOIN else "leave")


def _broadcast(namespace: str, data: bytes) -> Emit:
    if not data.startswith(b"{"):
        value = read_msgpack(_from_base64(data))
        whole = msgspec.convert(value, _Broadcast)
        packet = whole.packet
        return event_of(
            whole.opts.target(namespace),
            packet.nsp,
            packet.data,
            volatile=whole.opts.flags.volatile,
        )
    broadcast = _json_broadcast.decode(data)
    if broadcast.packet.nsp not in (None, namespace):
        raise Unreadable(MALFORMED, "expected a packet of the same namespace")
    if not broadcast.packet.data:
        raise Unreadable(MALFORMED, "expected the name of an event")
    name, *arguments = broadcast.packet.data
    return Emit(
        broadcast.opts.target(namespace),
        str(_name.decode(name)),
        tuple(bytes(each) for each in arguments),
        volatile=broadcast.opts.flags.volatile,
    )


def _from_base64(data: bytes) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise Unreadable(MALFORMED, "expected JSON, or MessagePack in base64") from None
