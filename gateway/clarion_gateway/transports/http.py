"""uvicorn's HTTP protocol with bounds on the request's head, and its two ways to a connection.

`GET /ws` with an upgrade becomes a `WebSocketConnection`, `GET /sse` an `SseConnection`; everything
else goes to the ASGI app. uvicorn itself bounds neither how long a head may take nor, with
httptools, how large it may be.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.transports.request import ConnectionRequest, refusal
from clarion_gateway.transports.sse import SseConnection, turned_away
from clarion_gateway.transports.websocket import WebSocketConnection

WEBSOCKET_PATH: Final = b"/ws"
SSE_PATH: Final = b"/sse"


class GatewayHttpProtocol(HttpToolsProtocol):
    """One TCP connection until it is known what it wants."""

    sessions: Sessions  # set on the subclass that `protocol_class` makes

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        self._head_max_bytes = self.sessions.settings.request_head_max_bytes
        self._head_timer: asyncio.TimerHandle | None = None
        self._wants_stream = False
        self._answered = False  # a plain request has gone to the ASGI app

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the head. Nobody needs the addresses: two system calls less."""
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left before it said what it wanted, or after a plain request."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, with a bound, and without losing what follows an upgrade's head."""
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # An upgrade to h2c, which a server may ignore, leaves a stream's request what it is.
            if not self._wants_stream and not self.transport.is_closing():
                self._upgrade(data[upgrade.args[0] :])
                return
        except httptools.HttpParserError:
            if not self._is_decided:
                self._refuse(400, "malformed_request", "expected an HTTP/1.1 request")
                return
        if self.transport.is_closing():
            return
        if self._wants_stream:
            self._stream()
        elif self._head_timer is not None and self._head_bytes > self._head_max_bytes:
            self._refuse_head()

    @property
    def _is_decided(self) -> bool:
        """The connection's one request has been read: what comes behind it is not looked at."""
        return self._wants_stream or self._answered

    def on_message_begin(self) -> None:
        """Stop the parser at a second request, before it takes the place of the first."""
        if self._is_decided:
            raise ValueError("expected one request on a connection")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there: leave what becomes a connection to `data_received`."""
        self._stop_timer()
        if self._exact_head_bytes() > self._head_max_bytes:
            self._refuse_head()
        elif self._path() == SSE_PATH and self.parser.get_method() == b"GET":
            self._wants_stream = self._get_upgrade() != b"websocket"
        # `data_received` hears of an upgrade: no ASGI scope needs to be made for it.
        self._answered = not (
            self._wants_stream or self.transport.is_closing() or self.parser.should_upgrade()
        )
        if self._answered:
            super().on_headers_complete()
            self.cycle.keep_alive = False  # nobody asks this port twice on one connection

    def on_body(self, body: bytes) -> None:
        """A stream's request has no body worth reading."""
        if self._answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Nothing to run for a stream."""
        self._head_bytes = 0
        if self._answered:
            super().on_message_complete()

    def _exact_head_bytes(self) -> int:
        """Without what came in the same piece behind it."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse_head(self) -> None:
        most = self._head_max_bytes
        self._refuse(431, "head_too_large", f"expected a request head of at most {most} bytes")

    def _should_upgrade(self) -> bool:
        # uvicorn asks its `ws` setting too; here the upgrade is ours, and that is "none".
        return self._get_upgrade() == b"websocket"

    def _upgrade(self, rest: bytes) -> None:
        if not self._should_upgrade():
            self._refuse(400, "unknown_upgrade", "expected an upgrade to websocket")
        elif self._path() != WEBSOCKET_PATH:
            self._refuse(404, "not_found", f"expected {WEBSOCKET_PATH.decode()}")
        elif self.parser.get_method() != b"GET":
            self._refuse(405, "method", "expected GET", headers=(("allow", "GET"),))
        elif self._may_connect("websocket"):
            transport = self.transport
            connection = WebSocketConnection(self.sessions, transport)
            request = self._request()
            self._hand_over(connection)
            if connection.handshake(request) and rest:
                connection.data_received(rest)

    def _stream(self) -> None:
        if self._may_connect("sse"):
            request = self._request()
            connection = SseConnection(self.sessions, self.transport, request)
            self._hand_over(connection)
            connection.respond(request)

    def _may_connect(self, wire: str) -> bool:
        headers = dict(self.headers)
        origin = headers.get(b"origin")
        host = headers.get(b"host")
        if not self.sessions.origins.allows(_text(origin), _text(host)):
            self.sessions.metrics.handshakes.labels(wire, "forbidden_origin").inc()
            self._refuse(403, "forbidden_origin", "this Origin may not connect")
            return False
        close = self.sessions.refuse_early()
        if close is not None:
            self.sessions.metrics.handshakes.labels(wire, close.label).inc()
            if wire == "sse":
                self._answer(close.label, turned_away(close, _text(origin)))
            else:
                retry = (("retry-after", "1"),)
                self._refuse(close.status, close.label, close.reason, headers=retry)
            return False
        return True

    def _request(self) -> ConnectionRequest:
        url = httptools.parse_url(self.url)
        return ConnectionRequest(
            url.path.decode("latin-1"),
            (url.query or b"").decode("latin-1"),
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers],
        )

    def _path(self) -> bytes:
        try:
            path: bytes = httptools.parse_url(self.url).path
        except httptools.HttpParserInvalidURLError:
            return b""
        return path

    def _hand_over(self, connection: WebSocketConnection | SseConnection) -> None:
        """Let the connection have the socket, and this object be freed at once."""
        self.connections.discard(self)
        self.transport.set_protocol(connection)
        # A cycle through C, which only the garbage collector would find.
        self.parser = None  # type: ignore[assignment]
        self.transport = self.flow = None  # type: ignore[assignment]

    def _refuse(
        self,
        status: int,
        reason: str,
        detail: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._answer(reason, refusal(status, detail, headers=headers))

    def _answer(self, reason: str, response: bytes) -> None:
        self._stop_timer()
        self.sessions.metrics.requests_refused.labels(reason).inc()
        self.transport.write(response)
        self.transport.close()

    def _head_too_slow(self) -> None:
        self._head_timer = None
        seconds = self.sessions.settings.handshake_seconds
        self._refuse(408, "head_too_slow", f"expected the request within {seconds:g} seconds")

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(
            self.sessions.settings.handshake_seconds, self._head_too_slow
        )

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def protocol_class(sessions: Sessions) -> type[GatewayHttpProtocol]:
    """The class to give to uvicorn's ``http`` setting: it makes one object per TCP connection."""
    return type("BoundGatewayHttpProtocol", (GatewayHttpProtocol,), {"sessions": sessions})


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
