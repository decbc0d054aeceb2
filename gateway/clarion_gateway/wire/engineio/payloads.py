"""Payloads of long polling: all packets of one HTTP body, joined by a separator. No I/O.

A binary message is ``b`` and base64, without the digit of its type.
(https://socket.io/docs/v4/engine-io-protocol)

Messages to the client wait as frames of WebSockets, which rounds share between all sessions. They
become a payload when a poll comes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from clarion_gateway.wire import frames
from clarion_gateway.wire.engineio import packets
from clarion_gateway.wire.engineio.packets import Packet, PacketType
from clarion_gateway.wire.messages import Malformed

SEPARATOR: Final = b"\x1e"
_BINARY: Final = b"b"
_LINE_BREAKS: Final = b"\r\n"  # the client for Java writes lines of 76 characters (RFC 2045)


def decode(body: bytes) -> Iterator[Packet]:
    r"""The packets of a body, one after the other.

    >>> [packet.type.name for packet in decode(b"3\x1e4hello")]
    ['PONG', 'MESSAGE']

    Raises:
        Malformed: the next one is no packet. Those before it have been returned.
    """
    start = 0
    while True:
        end = body.find(SEPARATOR, start)
        yield _packet(body[start:] if end < 0 else body[start:end])
        if end < 0:
            return
        start = end + 1


def _packet(text: bytes) -> Packet:
    if not text.startswith(_BINARY):  # before digits: base64 may begin with one
        return packets.decode(text)
    try:
        encoded = text[1:].translate(None, _LINE_BREAKS)
        return Packet(PacketType.MESSAGE, base64.b64decode(encoded, validate=True), True)
    except binascii.Error:
        raise Malformed("expected base64 behind the b of a binary message") from None


def encode(buffers: Iterable[bytes]) -> bytes:
    """The body with all packets of some buffers, each of whole frames.

    >>> encode([frames.text(b"2"), frames.text(b"4hello")])
    b'2\\x1e4hello'
    """
    return SEPARATOR.join(map(_payload, buffers))


@lru_cache(maxsize=1)  # a round writes one buffer to all sessions
def _payload(buffer: bytes) -> bytes:
    return SEPARATOR.join(
        payload if is_text else _BINARY + base64.b64encode(payload)
        for is_text, payload in frames.messages(buffer)
    )
