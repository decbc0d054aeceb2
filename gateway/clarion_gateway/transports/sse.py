"""An event stream (server-sent events) on a TCP connection, without a task of its own.

It takes over the TCP connection from the HTTP server once the request has been read. Rounds write
to it as to a WebSocket; the client sends nothing. The response has no length and ends with the
connection.
"""

from __future__ import annotations

import asyncio
import random
from typing import ClassVar, Final

from clarion_contract.service.http_port import refusal_response
from clarion_contract.service.http_response import lines, response_head
from clarion_contract.service.serving import RESPONSE_HEADERS
from clarion_gateway.clients.origins import readable_by
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import Connection
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socket import TcpSocket
from clarion_gateway.wire.format import Formats, WireFormat, default_of

_RETRY_MS: Final = 2_000
# Proxies that compress, such as those of development servers, would hold events back.
_COMMON: Final = lines({**RESPONSE_HEADERS, "cache-control": "no-store, no-transform"}.items())
_OWN: Final = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("x-accel-buffering", "no"),  # nginx would hold events back
    ("connection", "close"),
)


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
        """See `TcpSocket`. Never refuses a request: admission does that later, by `close`."""
        self._connection = Connection(default_of(formats), self)
        self._origin = request.header("origin")
        self._head = _response_head(self._origin)

    @staticmethod
    def turned_away(close: Close, origin: str | None, wire_format: WireFormat) -> bytes:
        """See `TcpSocket`.

        The status is 200, not the close's own: an EventSource never comes back after another one.
        """
        after_ms = max(_RETRY_MS, close.retry_seconds * 1_000) + random.randrange(_RETRY_MS)  # noqa: S311 - spreads load, no secret
        closing = wire_format.closing(close.label, close.reason)
        return _response_head(origin) + b"retry: %d\n" % after_ms + closing

    def data_received(self, data: bytes) -> None:
        """Throw away what the client sends after its request; a pipelined one gets no answer.

        Reading goes on all the same, since that is how the gateway notices a client that has gone.
        A client that sends more than a request's head is closed.
        """
        self._heard_bytes += len(data)
        if self._heard_bytes > self._sessions.settings.request_head_max_bytes:
            self.close(close_codes.protocol_error("expected nothing behind a stream's request"))

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `Connection.close`.

        If nothing was sent yet, the answer is an HTTP refusal with the close's status instead of
        a stream.
        """
        if self._is_ending():
            return
        wire_format = self._connection.format
        if not self._head:
            last_words = message + wire_format.closing(close.label, close.reason)
        elif close.reconnect:
            last_words = self.turned_away(close, self._origin, wire_format)
        else:
            headers = [("www-authenticate", "Bearer")] if close.status == 401 else []
            headers += readable_by(self._origin)
            last_words = refusal_response(close.status, close.reason, headers=headers)
        self._close_with(close, last_words)
        self._transport.close()


def _response_head(origin: str | None) -> bytes:
    return response_head(200, (*_OWN, *readable_by(origin)), common=_COMMON)
