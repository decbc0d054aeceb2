"""Server-to-client WebSocket frames (RFC 6455, section 5.2).

Wire formats put each message into a frame here. A server's frames are not masked, so the bytes of
one frame serve every socket: a frame is built once for thousands of clients. Frames from clients
are parsed by `websockets`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

_FIN_TEXT: Final = 0x81
_FIN_BINARY: Final = 0x82
_FIN_CLOSE: Final = 0x88
_FIN_PONG: Final = 0x8A
_RSV1: Final = 0x40
# In place of a short length: the real one follows in so many bits (section 5.2).
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_TAIL: Final = b"\x00\x00\xff\xff"

PING: Final = b"\x89\x00"
# A window of 4 KB costs little memory, and most clients accept it.
DEFLATE_WINDOW_BITS: Final = 12
# For shorter messages, the deflate block costs more bytes than compression saves.
_DEFLATE_MIN_BYTES: Final = 64


def text(payload: bytes) -> bytes:
    """Put a whole text message into one frame."""
    return _header(_FIN_TEXT, len(payload)) + payload


def binary(payload: bytes) -> bytes:
    """Put a whole binary message into one frame."""
    return _header(_FIN_BINARY, len(payload)) + payload


def deflated_text(payload: bytes) -> bytes:
    """Like `text`, but compressed without context takeover (RFC 7692, section 7.2.1).

    Short messages are not compressed.
    """
    if len(payload) < _DEFLATE_MIN_BYTES:
        return text(payload)
    deflate = zlib.compressobj(wbits=-DEFLATE_WINDOW_BITS)
    compressed = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
    compressed = compressed.removesuffix(_TAIL)
    return _header(_FIN_TEXT | _RSV1, len(compressed)) + compressed


def close(code: int, reason: str) -> bytes:
    """Build a close frame.

    Args:
        code: see `clarion_gateway.connections.close_codes`.
        reason: at most 123 bytes in UTF-8, since the payload may have 125 (section 5.5).
    """
    payload = struct.pack("!H", code) + reason.encode()
    return _header(_FIN_CLOSE, len(payload)) + payload


def pong(payload: bytes | bytearray | memoryview) -> bytes:
    """Build the answer to a ping, which has the ping's payload (section 5.5.3)."""
    return _header(_FIN_PONG, len(payload)) + bytes(payload)


def messages(buffer: bytes) -> Iterator[tuple[bool, bytes]]:
    """The messages in a buffer of whole frames that this module has made, uncompressed.

    Yields:
        Whether the message is text, and its payload.
    """
    start = 0
    while start < len(buffer):
        first, length = buffer[start], buffer[start + 1]
        start += 2
        if length == _LENGTH_16:
            (length,) = struct.unpack_from("!H", buffer, start)
            start += 2
        elif length == _LENGTH_64:
            (length,) = struct.unpack_from("!Q", buffer, start)
            start += 8
        yield first == _FIN_TEXT, buffer[start : start + length]
        start += length


def _header(first: int, length: int) -> bytes:
    if length < _LENGTH_16:
        return bytes((first, length))
    if length < 65_536:
        return struct.pack("!BBH", first, _LENGTH_16, length)
    return struct.pack("!BBQ", first, _LENGTH_64, length)
