"""Reads what python-socketio's managers publish on a Redis channel: JSON. Pure.

Before its version 5.14, python-socketio wrote pickle. To read pickle is to run a producer's code,
so such messages are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from clarion_publisher.sources.socketio.cluster_messages import Room, texts
from clarion_publisher.sources.socketio.message import (
    BINARY,
    MALFORMED,
    PICKLE,
    UNSUPPORTED,
    Change,
    Content,
    Disconnect,
    Emit,
    Target,
    Unreadable,
)

_PICKLE: Final = b"\x80"  # its first byte, since protocol 2

Rooms = tuple[Room, ...] | Room | None


class _Message(Struct):
    method: str
    namespace: str | None = None
    event: str | int | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    binary: bool = False
    room: Rooms = None
    skip_sid: Rooms = None
    sid: str | None = None
    callback: msgspec.Raw = msgspec.Raw(b"null")


_message: Final = msgspec.json.Decoder(_Message)
_arguments: Final = msgspec.json.Decoder(tuple[msgspec.Raw, ...])


def read_message(data: bytes) -> Content | None:
    """The content of a message; None: it is one between servers.

    Raises:
        Unreadable: it is meant for clients, and cannot be read.
    """
    if data.startswith(_PICKLE):
        raise Unreadable(PICKLE, "expected JSON, got pickle; python-socketio 5.14 writes JSON")
    try:
        message = _message.decode(data)
        read = _METHODS.get(message.method)
        return None if read is None else read(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(MALFORMED, f"expected a message: {str(error)[:100]}") from None


def _emit(message: _Message) -> Emit:
    if message.binary:
        raise Unreadable(BINARY, "expected no bytes; write them in base64")
    if message.callback != msgspec.Raw(b"null"):
        raise Unreadable(UNSUPPORTED, "acknowledgements of clients reach no producer")
    if message.event is None:
        raise Unreadable(MALFORMED, "expected the name of an event")
    arguments = tuple(bytes(each) for each in _arguments.decode(message.data))
    if arguments == (b"null",):  # so the manager writes that there is no argument
        arguments = ()
    target = Target(_namespace(message), _rooms(message.room), _rooms(message.skip_sid))
    return Emit(target, str(message.event), arguments)


def _disconnect(message: _Message) -> Disconnect:
    return Disconnect(_one(message))


def _enter_room(message: _Message) -> Change:
    return Change(_one(message), _rooms(message.room), "join")


def _leave_room(message: _Message) -> Change:
    return Change(_one(message), _rooms(message.room), "leave")


def _close_room(message: _Message) -> Change:
    rooms = _rooms(message.room)
    return Change(Target(_namespace(message), rooms), rooms, "leave")


_METHODS: Final[dict[str, Callable[[_Message], Content]]] = {
    "emit": _emit,
    "disconnect": _disconnect,
    "enter_room": _enter_room,
    "leave_room": _leave_room,
    "close_room": _close_room,
}


def _one(message: _Message) -> Target:
    if not message.sid:
        raise Unreadable(MALFORMED, "expected a sid")
    return Target(_namespace(message), (message.sid,))


def _namespace(message: _Message) -> str:
    return message.namespace or "/"


def _rooms(given: Rooms) -> tuple[str, ...]:
    if given is None:
        return ()
    return texts(given if isinstance(given, tuple) else (given,))
