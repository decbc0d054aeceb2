"""What WebSocket and event stream share: the TCP side of one connection, without a task.

A socket takes whole messages out of the bytes that come in and hands them to
`clarion_gateway.clients.sessions`, which know nothing of TCP.

The first write carries the head of the HTTP response: opening a connection costs one packet.
Back-pressure comes from the transport's own buffer limits: no count of bytes, no queue.
"""

from __future__ import annotations

import asyncio
import errno
from abc import ABC, abstractmethod
from typing import ClassVar, Final

from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import NO_SOCKET, Connection, State, discard
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.wire.format import Formats, WireFormat

# How long a closing connection may take to send what was written, and to hear the client's answer.
CLOSE_SECONDS: Final = 5.0


class TcpSocket(asyncio.Protocol, ABC):
    """A `Socket` on a TCP transport that was taken over from the HTTP server.

    Attributes:
        awaiting_pong: see `clarion_gateway.connections.connection.Socket`.
        upgrades: whether its requests ask for an upgrade to ``websocket``.
        lost: how it counts when the client goes without a word.
    """

    upgrades: ClassVar[bool]
    lost: ClassVar[Close] = close_codes.ABNORMAL

    __slots__ = (
        "_closing", "_connection", "_head", "_sessions", "_taken", "_transport", "awaiting_pong",
    )  # fmt: skip

    def __init__(self, sessions: Sessions, transport: asyncio.Transport) -> None:
        self.awaiting_pong = False
        self._connection: Connection  # from the handshake on
        self._sessions = sessions
        self._transport = transport
        self._head = b""
        self._closing: Close | None = None
        self._taken: asyncio.Event | None = None

    @staticmethod
    @abstractmethod
    def turned_away(close: Close, origin: str | None, wire_format: WireFormat) -> bytes:
        """A whole HTTP response for a client that should come back."""

    @abstractmethod
    def handshake(self, request: ConnectionRequest, formats: Formats) -> bytes | None:
        """Agree on a format, and so make the connection; `open` follows.

        Returns:
            The response where the handshake is refused; None: it is not.
        """

    def open(self, request: ConnectionRequest) -> None:
        """Have the connection admitted, on a transport that is its own now.

        The response's head leaves with the first thing that is written.
        """
        self._transport.set_write_buffer_limits(high=self._sessions.settings.max_unsent_bytes)
        self._sessions.open(self._connection, request.opening())

    def write(self, data: bytes) -> None:
        """The first write; all later ones go from the connection to the transport at once."""
        self._connection.write = self._transport.write
        self._transport.write(self._head + data)
        self._head = b""

    def _close_with(self, close: Close, last_words: bytes) -> None:
        """Write the last bytes; the transport goes when they are out, or when time is up."""
        self._closing = close
        self._sessions.closing += 1
        self._end(close)
        self._head = b""
        self._transport.write(last_words)
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def _is_ending(self) -> bool:
        """Whether there is nothing left to close; a transport that only waits is cut short."""
        if self._closing is None and self._transport.is_closing():
            self._transport.abort()
        return self._closing is not None or self._transport.is_closing()

    def _end(self, close: Close) -> None:
        self._connection.write = discard
        self._sessions.ended(self._connection, close)

    # asyncio.Protocol

    def eof_received(self) -> None:
        """The client will send no more: neither a WebSocket nor a stream is half closed.

        Aborted, since closing would wait for a client to read what it may never read.
        """
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone, whoever closed it."""
        self._sessions.port.open -= 1
        if self._closing is not None:
            self._sessions.closing -= 1
        # The kernel gives up a client that takes nothing (TCP_USER_TIMEOUT).
        is_timeout = isinstance(exc, OSError) and exc.errno == errno.ETIMEDOUT
        self._end(self._closing or (close_codes.KEEP_ALIVE if is_timeout else self.lost))
        if self._taken is not None:
            self._taken.set()
        self._connection.socket = NO_SOCKET  # frees both without the garbage collector

    def pause_writing(self) -> None:
        """More waits for the client than it is allowed to leave."""
        state = self._connection.state
        if state is State.CATCHING_UP:
            self._taken = asyncio.Event()
        elif state is State.LIVE:
            self._sessions.metrics.slow_consumers.inc()
            self.close(close_codes.SLOW_CONSUMER)

    def resume_writing(self) -> None:
        """The client has taken most of what was written."""
        if self._taken is not None:
            self._taken.set()
            self._taken = None

    # Socket

    @abstractmethod
    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `Connection.close`."""

    def ping(self) -> None:
        """See `Socket`."""
        self._connection.write(self._connection.format.ping)

    @property
    def unsent_bytes(self) -> int:
        """See `Socket`."""
        return self._transport.get_write_buffer_size()

    async def drained(self) -> None:
        """See `Socket`."""
        if self._taken is not None:
            await self._taken.wait()

    @property
    def is_reading(self) -> bool:
        """See `Socket`."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """See `Socket`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `Socket`."""
        self._transport.resume_reading()
