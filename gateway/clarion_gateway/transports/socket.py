"""The part that WebSockets and event streams share: the TCP side of one connection.

A socket takes whole messages out of the bytes that come in. It hands them to
`clarion_gateway.clients.sessions`, which know nothing of TCP. It needs no task of its own.

The first write carries the head of the HTTP response, so opening a connection costs one packet.
Backpressure comes from the buffer limits of asyncio's transport: the socket keeps no queue, and
counts bytes only while the client is behind (`clarion_gateway.connections.outbound`).
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
from clarion_gateway.connections.outbound import Backlog
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.wire.format import Formats, WireFormat

# How long a closing connection may take to send its last bytes and to hear the client's answer.
CLOSE_SECONDS: Final = 5.0


class TcpSocket(asyncio.Protocol, ABC):
    """A `Socket` on a TCP transport that was taken over from the HTTP server.

    Attributes:
        awaiting_pong: see `clarion_gateway.connections.connection.Socket`.
        upgrades: whether its requests ask for an upgrade to ``websocket``.
        lost: the close that is counted when the client leaves without a close frame.
    """

    upgrades: ClassVar[bool]
    lost: ClassVar[Close] = close_codes.ABNORMAL

    __slots__ = (
        "_backlog", "_closing", "_connection", "_head", "_sessions", "_taken", "_transport",
        "awaiting_pong",
    )  # fmt: skip

    def __init__(self, sessions: Sessions, transport: asyncio.Transport) -> None:
        self.awaiting_pong = False
        self._connection: Connection  # from the handshake on
        self._sessions = sessions
        self._transport = transport
        self._head = b""
        self._closing: Close | None = None
        self._taken: asyncio.Event | None = None
        self._backlog: Backlog | None = None

    @staticmethod
    def begins(request: ConnectionRequest) -> bool:  # noqa: ARG004 - for those who override
        """Whether a request asks for a new connection, as nearly all do."""
        return True

    @staticmethod
    @abstractmethod
    def turned_away(close: Close, origin: str | None, wire_format: WireFormat) -> bytes:
        """The whole HTTP response for a client that is refused now and should come back later."""

    @abstractmethod
    def handshake(self, request: ConnectionRequest, formats: Formats) -> bytes | None:
        """Agree on a wire format and make the connection; the caller then calls `open`.

        Returns:
            The HTTP response that refuses the handshake. None means that it is accepted.
        """

    def open(self, request: ConnectionRequest) -> None:
        """Begin the admission of the connection. The TCP transport belongs to it from now on.

        The head of the HTTP response leaves with the first write.
        """
        self._transport.set_write_buffer_limits(high=self._sessions.behind_bytes)
        self._sessions.open(self._connection, request.opening())

    def write(self, data: bytes) -> None:
        """Write for the first time; later writes go from the connection straight to TCP."""
        self._connection.write = self._transport.write
        self._transport.write(self._head + data)
        self._head = b""

    def _close_with(self, close: Close, last_words: bytes) -> None:
        """Write the last bytes. The transport ends when they are sent, or after `CLOSE_SECONDS`."""
        self._closing = close
        self._sessions.closing += 1
        self._end(close)
        self._head = b""
        self._transport.write(last_words)
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def _is_ending(self) -> bool:
        """Whether the socket is closing already. A transport that still waits is aborted here."""
        if self._closing is None and self._transport.is_closing():
            self._transport.abort()
        return self._closing is not None or self._transport.is_closing()

    def _end(self, close: Close) -> None:
        self._connection.write = discard
        self._sessions.ended(self._connection, close)

    # asyncio.Protocol

    def eof_received(self) -> None:
        """The client has closed its side, which ends a WebSocket and a stream alike.

        The transport is aborted: an orderly close would wait for the client to read the rest, and
        it may never do that.
        """
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection has ended, no matter which side closed it."""
        self._sessions.port.open -= 1
        if self._closing is not None:
            self._sessions.closing -= 1
        # The kernel drops a client that reads nothing for too long (TCP_USER_TIMEOUT).
        is_timeout = isinstance(exc, OSError) and exc.errno == errno.ETIMEDOUT
        self._end(self._closing or (close_codes.KEEP_ALIVE if is_timeout else self.lost))
        self.resume_writing()
        self._connection.socket = NO_SOCKET  # breaks the cycle, so that both are freed at once

    def pause_writing(self) -> None:
        """The client is behind: the kernel takes no more, and bytes wait in the process.

        From now on they count, and a client that is live is closed at `GATEWAY_MAX_UNSENT_BYTES`.
        A client that catches up gets time instead: `drained` waits for it.
        """
        outbound = self._sessions.outbound
        self._backlog = outbound.behind(self._connection, self._transport.get_write_buffer_size)
        if self._connection.write is not discard:
            self._connection.write = self._write_behind
        if self._connection.state is State.CATCHING_UP:
            self._taken = asyncio.Event()
        self._backlog.begin()
        self._close_slow()

    def _write_behind(self, data: bytes) -> None:
        """Write and count bytes. `Connection.write` is this method while the client is behind."""
        backlog = self._backlog
        self._transport.write(data)
        if backlog is not None:
            backlog.add(data)
        self._close_slow()

    def _close_slow(self) -> None:
        """Close a live client that leaves more bytes than it may; others get time to catch up."""
        if (
            self._connection.state is State.LIVE
            and self.unsent_bytes > self._sessions.settings.max_unsent_bytes
        ):
            self._sessions.metrics.slow_consumers.inc()
            self.close(close_codes.SLOW_CONSUMER)

    def resume_writing(self) -> None:
        """The client has read most of the bytes that waited for it, or is gone."""
        if self._backlog is not None:
            self._backlog.end()
            self._backlog = None
            if self._connection.write is not discard:
                self._connection.write = self._transport.write
        if self._taken is not None:
            self._taken.set()
            self._taken = None

    # Socket

    @abstractmethod
    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `Connection.close`."""

    def cut(self, close: Close) -> None:
        """See `Connection.cut`."""
        if self._closing is None:
            self._closing = close
            self._sessions.closing += 1
            self._end(close)
        self._transport.abort()
        self.resume_writing()  # what waited is dropped

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
