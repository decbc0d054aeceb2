"""Reads what `@socket.io/redis-emitter` publishes on Redis channels. Pure.

Events come as MessagePack on ``<key>#<namespace>#``, with one room also on
``<key>#<namespace>#<room>#``. Commands come as JSON on ``<key>-request#<namespace>#``. Servers with
the classic Redis adapter write the same.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from clarion_publisher.sources.socketio.cluster_messages import Options, Room, event_of, texts
from clarion_publisher.sources.socketio.message import (
    MALFORMED,
    UNSUPPORTED,
    Change,
    Content,
    Disconnect,
    Emit,
    Unreadable,
)
from clarion_publisher.sources.socketio.msgpack import read_msgpack

_JOIN: Final = 2
_LEAVE: Final = 3
_DISCONNECT: Final = 4
_SERVER_SIDE_EMIT: Final = 6
_EMITTER: Final = "emitter"


class _Packet(Struct):
    data: tuple[Any, ...]
    type: int = 2
    nsp: str = "/"


class _Request(Struct):
    type: int | None = None
    uid: str | None = None
    opts: Options | None = None
    rooms: tuple[Room, ...] = ()


_request: Final = msgspec.json.Decoder(_Request)


def events_channel(key: str) -> str:
    """The beginning of the channels with events."""
    return f"{key}#"


def requests_channel(key: str) -> str:
    """The beginning of the channels with commands."""
    return f"{key}-request#"


def read_event(place: str, data: bytes) -> Emit:
    """The event in a message.

    Args:
        place: the channel's name behind `events_channel`. A room's name may hold a ``#``.

    Raises:
        Unreadable: it is no such event.
    """
    namespace = place.partition("#")[0]
    value = read_msgpack(data)
    try:
        _, packet, options = msgspec.convert(value, tuple[Any, _Packet, Options])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unreadable(MALFORMED, f"expected an event: {str(error)[:100]}") from None
    volatile = options.flags.volatile
    return event_of(options.target(namespace), packet.nsp, packet.data, volatile=volatile)


def read_request(place: str, data: bytes) -> Content | None:
    """The command in a message; None: it is one between servers.

    Args:
        place: the channel's name behind `requests_channel`.

    Raises:
        Unreadable: it is meant for clients, and cannot be read.
    """
    if not data.startswith(b"{"):  # servers use MessagePack among each other
        return None
    try:
        request = _request.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(MALFORMED, f"expected a command: {str(error)[:100]}") from None
    if request.type == _SERVER_SIDE_EMIT and request.uid == _EMITTER:
        raise Unreadable(UNSUPPORTED, "serverSideEmit is for servers of Socket.IO")
    if request.type not in (_JOIN, _LEAVE, _DISCONNECT) or request.opts is None:
        return None
    target = request.opts.target(place.partition("#")[0])
    if request.type == _DISCONNECT:
        return Disconnect(target)
    return Change(target, texts(request.rooms), "join" if request.type == _JOIN else "leave")
