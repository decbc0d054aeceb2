"""A server-sent event stream without a task: written to like a WebSocket, heard by nobody.

Takes over the TCP connection from the HTTP server once the request has been read. The response has
no length and ends with the connection.
"""

from __future__ import annotations

import asyncio
import random
from typing import ClassVar, Final

from clarion_contract.service.http_port import refusal_response
from clarion_contract.service.serving import RESPONSE_HEADERS
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import Connection
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socket import TcpSocket
from clarion_gateway.wire.format import Formats, WireFormat, default_of

_RETRY_MS: Final = 2_000


class EventStream(TcpSocket):
    """One event stream, from its request on."""

    __slots__ = ("_heard_bytes", "_origin")

    upgrades: ClassVar[bool] = False
    lost: ClassVar[Close] = close_codes.NORMAL  # the only way in which a stream's client leaves

    def __init__(self, sessions: Sessions, transport: asyncio.Transport) -> None:
        super().__init__(sessions, transport)
        self._origin: str | None = None
        self._heard_bytes = 0

    def handshake(self, request: ConnectionRequest, formats: Formats) -> None:
        """See `TcpSocket`. Never refuses: that is left to admission, and to `close`."""
        self._connection = Connection(default_of(formats), self)
        self._origin = request.header("origin")
        self._head = _response_head(self._origin)

    @staticmethod
    def turned_away(close: Close, origin: str | None, wire_format: WireFormat) -> bytes:
        """See `TcpSocket`.

        Not with the close's own status: after anything but 200, an EventSource never comes back.
        """
        after_ms = _RETRY_MS + random.randrange(_RETRY_MS)  # noqa: S311 - spreads load, no secret
        closing = wire_format.closing(close.label, close.reason)
        return _response_head(origin) + b"retry: %d\n" % after_ms + closing

    def data_received(self, data: bytes) -> None:
        """A client has nothing more to say; a pipelined request is not answered.

        A little is thrown away: reading goes on, since it is how a lost client is noticed.
        """
        self._heard_bytes += len(data)
        if self._heard_bytes > self._sessions.settings.request_head_max_bytes:
            self.close(close_codes.protocol_error("expected nothing behind a stream's request"))

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `Connection.close`.

        A stream that has not begun is refused with the close's HTTP status.
        """
        if self._is_ending():
            return
        wire_format = self._connection.format
        if not self._head:
            last_words = message + wire_format.closing(close.label, close.reason)
        elif close.reconnect:
            last_words = self.turned_away(close, self._origin, wire_format)
        else:
            headers = (("www-authenticate", "Bearer"),) if close.status == 401 else ()
            last_words = refusal_response(close.status, close.reason, headers=headers)
        self._close_with(close, last_words)
        self._transport.close()


def _response_head(origin: str | None) -> bytes:
    lines = [
        "HTTP/1.1 200 OK",
        "content-type: text/event-stream; charset=utf-8",
        *(f"{name}: {value}" for name, value in RESPONSE_HEADERS.items()),
        "x-accel-buffering: no",  # nginx would hold events back
        "connection: close",
    ]
    if origin is not None:
        lines += [f"access-control-allow-origin: {origin}", "vary: origin"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
