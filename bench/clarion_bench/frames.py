"""The load client's parsers for WebSocket frames (RFC 6455, section 5). No I/O.

`FrameParser` returns every message whole. It serves greetings and sampled sockets. `FrameCounter`
only counts events, for the thousands of other sockets; its cost is per read, not per frame. Servers
send unmasked, unfragmented frames. Events have 126 to 65,535 bytes. Anything shorter is protocol
talk (pings, engine.io's "2") and is returned as a message.

With permessage-deflate (RFC 7692), an event is any frame with the bit RSV1. `DeflatedCounter`
counts such frames without inflating them. An event without the bit counts as `plain` as well.
"""

import secrets
import zlib
from dataclasses import dataclass
from enum import IntEnum

_RSV1 = 0x40
_DEFLATED_TEXT = 0xC1
# A compressed message lacks the end of its last block.
_TAIL = b"\x00\x00\xff\xff"


class Opcode(IntEnum):
    """The kind of a frame (RFC 6455, section 5.2)."""

    TEXT = 0x1
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame from a server."""

    opcode: int
    payload: bytes
    deflated: bool = False

    @property
    def close_reason(self) -> str:
        """Code and reason of a close frame, such as ``4429 too many messages``."""
        code = int.from_bytes(self.payload[:2], "big")
        return f"{code} {self.payload[2:].decode()}"


class UnexpectedFrameError(ValueError):
    """A server sent a frame that no server under test should send."""


def encode_client(opcode: Opcode, payload: bytes) -> bytes:
    """Build a masked frame of under 126 bytes; a load client never sends longer ones."""
    if len(payload) > 125:
        raise ValueError(f"a client frame holds at most 125 bytes, got {len(payload)}")
    mask = secrets.token_bytes(4)
    masked = bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))
    return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked


def header(
    buffer: bytes | bytearray, offset: int, end: int, *, deflate: bool = False
) -> tuple[int, int] | None:
    """Return the sizes of the header and the payload at `offset`, or None if it is cut off.

    Args:
        buffer: the stream, up to `end`.
        deflate: whether RSV1 may be set.
    """
    if end - offset < 2:
        return None
    length = buffer[offset + 1]
    first = buffer[offset] & (0xF0 & ~_RSV1 if deflate else 0xF0)
    if first != 0x80 or length > 127:
        raise UnexpectedFrameError(
            f"expected a whole, unmasked frame, got {buffer[offset : offset + 2].hex()}"
        )
    if length < 126:
        return 2, length
    size = 4 if length == 126 else 10
    if end - offset < size:
        return None
    return size, int.from_bytes(buffer[offset + 2 : offset + size], "big")


def inflate(payload: bytes) -> bytes:
    """Inflate a message that was compressed without context takeover (RFC 7692, section 7.2.2).

    Raises:
        UnexpectedFrameError: the payload is no such message.
    """
    try:
        return zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(payload + _TAIL)
    except zlib.error as error:
        raise UnexpectedFrameError(f"expected a compressed message: {error}") from error


class FrameParser:
    """Extracts whole frames from a byte stream that may be cut anywhere."""

    __slots__ = ("_deflate", "_rest")

    def __init__(self, *, deflate: bool = False) -> None:
        """Begin.

        Args:
            deflate: whether permessage-deflate is agreed on; payloads are then inflated.
        """
        self._rest = b""
        self._deflate = deflate

    @property
    def rest(self) -> bytes:
        """The bytes of a frame that has not fully arrived."""
        return self._rest

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes in and return the frames they complete, in order."""
        buffer = self._rest + data if self._rest else data
        end = len(buffer)
        offset = 0
        frames = []
        while (sizes := header(buffer, offset, end, deflate=self._deflate)) is not None:
            start = offset + sizes[0]
            if start + sizes[1] > end:
                break
            payload = buffer[start : start + sizes[1]]
            deflated = buffer[offset] & _RSV1 != 0
            if deflated:
                payload = inflate(payload)
            frames.append(Frame(buffer[offset] & 0x0F, payload, deflated))
            offset = start + sizes[1]
        self._rest = buffer[offset:]
        return frames


class FrameCounter:
    """Counts a socket's events by walking over frame headers; payloads are skipped unread.

    An event counts once its header has arrived; `pending` says how much of it has not arrived.
    """

    __slots__ = ("_cut", "events", "frame_bytes", "pending", "plain")

    def __init__(self) -> None:
        self.events = 0
        self.plain = 0
        self.frame_bytes = 0
        self.pending = 0
        self._cut = b""

    def feed(self, buffer: bytearray, size: int) -> list[Frame]:
        """Count the events in the first `size` bytes; return all other frames."""
        if self._cut:
            buffer = bytearray(self._cut) + buffer[:size]
            size = len(buffer)
            self._cut = b""
        offset = self.pending
        talk: list[Frame] = []
        while offset < size:
            if size - offset >= 4 and buffer[offset] == 0x81 and buffer[offset + 1] == 126:
                offset = self._events(buffer, offset, size)
                continue
            sizes = header(buffer, offset, size)
            if sizes is None or offset + sum(sizes) > size:
                # A header or a short frame is cut in two. That is rare, so join it and read again.
                self._cut = bytes(buffer[offset:size])
                offset = size
                break
            start = offset + sizes[0]
            offset = start + sizes[1]
            talk.append(Frame(buffer[start - sizes[0]] & 0x0F, bytes(buffer[start:offset])))
        self.pending = offset - size
        return talk

    def _events(self, buffer: bytearray, offset: int, size: int) -> int:
        """Count the event at `offset` and all similar ones after it; return where they end."""
        frame = 4 + (buffer[offset + 2] << 8 | buffer[offset + 3])
        self.frame_bytes = frame
        alike = (size - offset) // frame
        # Slices with a stride check the four header bytes of every frame at C speed, while the loop
        # in feed() costs 0.2 µs per frame. Below eight frames the loop is faster.
        if alike >= 8 and all(
            buffer[offset + byte : offset + alike * frame : frame].count(buffer[offset + byte])
            == alike
            for byte in range(4)
        ):
            self.events += alike
            return offset + alike * frame
        self.events += 1
        return offset + frame


class DeflatedCounter(FrameCounter):
    """The same for a socket with permessage-deflate: events are the frames with RSV1.

    `plain` counts the events that a server sent without RSV1, which a benchmark does not accept.
    """

    __slots__ = ()

    def feed(self, buffer: bytearray, size: int) -> list[Frame]:
        """Count the events in the first `size` bytes; return all other frames."""
        if self._cut:
            buffer = bytearray(self._cut) + buffer[:size]
            size = len(buffer)
            self._cut = b""
        offset = self.pending
        talk: list[Frame] = []
        while offset < size:
            first = buffer[offset]
            # Short events come by the hundred thousand, so they do without the call of header().
            if first == _DEFLATED_TEXT and size - offset >= 2 and buffer[offset + 1] < 126:
                self.frame_bytes = 2 + buffer[offset + 1]
                self.events += 1
                offset += self.frame_bytes
                continue
            sizes = header(buffer, offset, size, deflate=True)
            if sizes is None or (sizes[1] < 126 and offset + sum(sizes) > size):
                self._cut = bytes(buffer[offset:size])
                offset = size
                break
            start = offset
            offset += sum(sizes)
            if sizes[1] < 126:
                talk.append(Frame(first & 0x0F, bytes(buffer[start + sizes[0] : offset])))
                continue
            self.frame_bytes = offset - start
            self.events += 1
            self.plain += first != _DEFLATED_TEXT
        self.pending = offset - size
        return talk
