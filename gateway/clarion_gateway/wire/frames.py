"""Server-to-client WebSocket frames (RFC 6455, section 5.2).

A server's frames are not masked, so one frame's bytes serve every socket. Frames that come in are
parsed by `websockets`; only these few are built here, since they are built once for thousands.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

_FIN_TEXT: Final = 0x81
_FIN_CLOSE: Final = 0x88
_FIN_PONG: Final = 0x8A
_RSV1: Final = 0x40
_TAIL: Final = b"\x00\x00\xff\xff"

PING: Final = b"\x89\x00"
# A window of 4 KB serves every client that accepts at least that, and costs less memory.
DEFLATE_WINDOW_BITS: Final = 12
# Below this, the frame's header and the deflate block cost more than they save.
_DEFLATE_MIN_BYTES: Final = 64


def text(payload: bytes) -> bytes:
    """A whole text message in one frame."""
    return _header(_FIN_TEXT, len(payload)) + payload


def deflated_text(payload: bytes) -> bytes:
    """As `text`, compressed without context takeover (RFC 7692, section 7.2.1)."""
    if len(payload) < _DEFLATE_MIN_BYTES:
        return text(payload)
    deflate = zlib.compressobj(wbits=-DEFLATE_WINDOW_BITS)
    compressed = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
    compressed = compressed.removesuffix(_TAIL)
    return _header(_FIN_TEXT | _RSV1, len(compressed)) + compressed


def close(code: int, reason: str) -> bytes:
    """A close frame; its payload must stay within 125 bytes (section 5.5)."""
    payload = struct.pack("!H", code) + reason.encode()
    return _header(_FIN_CLOSE, len(payload)) + payload


def pong(payload: bytes | bytearray | memoryview) -> bytes:
    """The answer to a ping: the same payload (section 5.5.3)."""
    return _header(_FIN_PONG, len(payload)) + bytes(payload)


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)
