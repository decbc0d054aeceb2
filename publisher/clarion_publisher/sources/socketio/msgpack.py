"""Reads MessagePack as JavaScript's libraries write it, as far as JSON can say the same. Pure.

`msgspec` does the reading. What JavaScript has and JSON has not becomes what ``JSON.stringify``
makes of it: a Date is its ISO text, ``undefined`` is ``null``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from clarion_publisher.sources.socketio.message import BINARY, MALFORMED, Unreadable

_UNDEFINED: Final = 0  # the type by which notepack.io marks it


def read_msgpack(data: bytes) -> Any:  # noqa: ANN401 - as the producer has it
    """The value that a producer has written.

    Raises:
        Unreadable: it is no MessagePack, or has a type of its own.
    """
    try:
        return msgspec.msgpack.decode(data, ext_hook=_own_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Unreadable(MALFORMED, f"expected MessagePack: {str(error)[:100]}") from None


def json_of(value: Any) -> bytes:  # noqa: ANN401
    """The JSON text of a value that was read.

    Raises:
        Unreadable: JSON cannot say it, such as bytes.
    """
    try:
        text = json.dumps(
            value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_as_json
        )
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable(MALFORMED, f"expected what JSON can say: {str(error)[:100]}") from None


def _own_type(code: int, data: memoryview) -> None:
    if code != _UNDEFINED or bytes(data) != b"\0":
        raise ValueError(f"unknown type {code}")


def _as_json(value: object) -> object:
    if isinstance(value, bytes):
        raise Unreadable(BINARY, "expected no bytes; write them in base64")
    if isinstance(value, datetime):
        moment = value.astimezone(UTC).isoformat(timespec="milliseconds")
        return moment.replace("+00:00", "Z")
    raise TypeError(f"a {type(value).__name__}")
