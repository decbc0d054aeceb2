"""A server-sent event stream without a task: written to like a WebSocket, heard by nobody.

Takes over the TCP connection from the HTTP server once the request has been read. The response has
no length and ends with the connection.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from gateway import close_codes
from gateway.close_codes import Close
from gateway.connection import Connection, State, discard
from gateway.sessions import Sessions
from gateway.transports.request import ConnectionRequest, refusal
from gateway.wire.sse import COMMENT, SSE

_RETRY_MS: Final = 2_000


class SseConnection(Connection, asyncio.Protocol):
    """One event stream, from its request on."""

    __slots__ = ("_head", "_origin", "_sessions", "_taken", "_transport")

    def __init__(self, sessions: Sessions, transport: asyncio.Transport) -> None:
        super().__init__(SSE)
        self._sessions = sessions
        self._transport = transport
        self._taken: asyncio.Event | None = None
        self._origin: str | None = None
        self._head: bytes | None = None

    def respond(self, request: ConnectionRequest) -> None:
        """Have the stream admitted; the response begins then, so that a refusal has a status."""
        self._origin = request.header("origin")
        self._head = _response_head(self._origin)
        self._transport.set_write_buffer_limits(high=self._sessions.settings.max_unsent_bytes)
        self.write = self._write_first
        self._sessions.open(self, request.opening())

    def _write_first(self, data: bytes) -> None:
        self.write = self._transport.write
        self._transport.write((self._head or b"") + data)
        self._head = None

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """A client has nothing more to say; a pipelined request is not answered."""

    def eof_received(self) -> None:
        """A client that has closed its side is gone: nobody half-closes an event stream."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The socket is gone, whoever closed it."""
        self._ended(close_codes.NORMAL)
        if self._taken is not None:
            self._taken.set()

    def pause_writing(self) -> None:
        """More waits for the client than it is allowed to leave."""
        if self.state is State.CATCHING_UP:
            self._taken = asyncio.Event()
        elif self.state is State.LIVE:
            self._sessions.metrics.slow_consumers.inc()
            self.close(close_codes.SLOW_CONSUMER)
            self._transport.abort()

    def resume_writing(self) -> None:
        """The client has taken most of what was written."""
        if self._taken is not None:
            self._taken.set()
            self._taken = None

    # Connection

    @property
    def unsent_bytes(self) -> int:
        """See `Connection`."""
        return self._transport.get_write_buffer_size()

    def ping(self) -> None:
        """A comment: keeps proxies from closing, and finds out that the client is gone."""
        self.write(COMMENT)

    async def drained(self) -> None:
        """See `Connection`."""
        if self._taken is not None:
            await self._taken.wait()

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `Connection`. A stream that has not begun is refused with the close's HTTP status."""
        if self._transport.is_closing():
            return
        if self._head is None:
            self._transport.write(message + SSE.error(None, close.label, close.reason))
        elif close.reconnect:
            self._transport.write(turned_away(close, self._origin))
        else:
            headers = (("www-authenticate", "Bearer"),) if close.status == 401 else ()
            self._transport.write(refusal(close.status, close.reason, headers=headers))
        self._head = None
        self._ended(close)
        self._transport.close()

    def pause_reading(self) -> None:
        """Nothing is read anyway."""

    def resume_reading(self) -> None:
        """Nothing is read anyway."""

    def _ended(self, close: Close) -> None:
        self.write = discard
        self._sessions.ended(self, close)


def turned_away(close: Close, origin: str | None) -> bytes:
    """A whole response for a client that should come back.

    Not with the close's own status: after anything but 200, a browser's EventSource never does.
    """
    after_ms = _RETRY_MS + random.randrange(_RETRY_MS)  # noqa: S311 - spreads load, no secret
    return (
        _response_head(origin)
        + b"retry: %d\n" % after_ms
        + SSE.error(None, close.label, close.reason)
    )


def _response_head(origin: str | None) -> bytes:
    lines = [
        "HTTP/1.1 200 OK",
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "x-accel-buffering: no",  # nginx would hold events back
        "connection: close",
    ]
    if origin is not None:
        lines += [f"access-control-allow-origin: {origin}", "vary: origin"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
