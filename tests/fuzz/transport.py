"""A TCP connection without a socket: a protocol is fed, and what it writes is kept."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.gateway.clockwork import ClockworkLoop

LONG_SECONDS = 250.0
"""Above every time limit of the settings that the targets use."""

_PIECES = (1 << 20, 1, 2, 7, 100)


def piece_bytes(data: bytes) -> int:
    """How an input comes in, by its first byte: all at once, byte by byte, and so on."""
    return _PIECES[data[0] % len(_PIECES)] if data else 1


class FakeTransport(asyncio.Transport):
    """As uvloop's, to a client that takes everything at once."""

    def __init__(self, loop: ClockworkLoop) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self._loop = loop
        self._protocol: asyncio.BaseProtocol | None = None
        self._closing = False
        self._unread = b""
        self._paused = False
        self.written = bytearray()
        self.lost = False

    def connect(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def say(self, data: bytes, piece: int) -> None:
        """Feed what a client sends in pieces of so many bytes, and let all of it take effect."""
        for start in range(0, len(data), piece):
            self._loop.call_soon(self.feed, data[start : start + piece])
            self._loop.run(1)
        self._loop.settle()

    def feed(self, data: bytes) -> None:
        """The client's next packet."""
        self._unread += data
        if self._unread and not self._paused and not self._closing:
            piece, self._unread = self._unread, b""
            protocol = self._protocol
            assert isinstance(protocol, asyncio.Protocol)
            protocol.data_received(piece)

    # asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.lost:
            self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.call_soon(self.feed, b"")

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def _lose(self) -> None:
        assert self._protocol is not None
        self.lost = True
        self._protocol.connection_lost(None)


def finish(loop: ClockworkLoop) -> None:
    """End every task, and the loop."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.settle()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
