"""The HTTP protocol of the gateway's public port, where every client comes in.

It adds two things to `clarion_contract.service.http_protocol`: WebSocket handshakes and event
streams. A request for a path of `clarion_gateway.transports.routes` becomes a connection, or
belongs to a session that is polled (`clarion_gateway.transports.socketio.server`); all other
requests go to the ASGI app. A TCP connection carries one request, but for polling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import httptools

from clarion_contract.service.headers import members
from clarion_contract.service.http_port import refusal_response
from clarion_contract.service.http_protocol import protocol_class
from clarion_contract.service.paths import within
from clarion_gateway.clients.origins import readable_by
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.transports.request import (
    ConnectionRequest,
    located,
    peer_of,
    refused_origin,
)
from clarion_gateway.transports.routes import Route, Routes, routes_of
from clarion_gateway.transports.socketio.exchange import Exchange
from clarion_gateway.transports.socketio.hops import Hops
from clarion_gateway.transports.socketio.relay import Relay
from clarion_gateway.transports.socketio.server import PollingHttpProtocol
from clarion_gateway.transports.socketio.websocket import SocketIoWebSocket
from clarion_gateway.transports.target import split
from clarion_gateway.wire.engineio import errors
from clarion_gateway.wire.format import default_of

# Headers that may come once only. With two different values, a proxy in front might have checked
# one, and the gateway would obey the other.
_SINGLE: Final = (b"authorization", b"origin", b"last-event-id")
_SINGLE_NAMES: Final = tuple(name.decode() for name in _SINGLE)


class GatewayHttpProtocol(PollingHttpProtocol):
    """Reads the request on one TCP connection, then hands the connection on or answers."""

    hops: Hops | None = None
    routes: Routes  # set on the subclass that `gateway_protocol` makes
    keeps_alive = False  # clients that do not poll send one request per TCP connection
    recognizes = True

    # Long polling

    def polls(self, path: bytes) -> bool:
        """See `PollingHttpProtocol`."""
        route = self.routes.get(self._below_prefix(path))
        return route is not None and route.transport is SocketIoWebSocket

    def admits(self, exchange: Exchange) -> bool:
        """See `PollingHttpProtocol`: pages of other origins may not."""
        if exchange.repeats_headers:
            names = [name for name, _ in exchange.request.headers]
            if any(names.count(name) > 1 for name in _SINGLE_NAMES):
                self.refuse(exchange, errors.BAD_REQUEST)
                return False
        if exchange.origin is None:
            return True
        if refused_origin(self.sessions, exchange.request, peer_of(self.transport)) is not None:
            self.refuse(exchange, errors.FORBIDDEN)
            return False
        return True

    def pass_on(self, exchange: Exchange, sid: str) -> bool:
        """See `PollingHttpProtocol`."""
        return self.hops is not None and self.hops.pass_on(exchange, sid)

    # Connections

    def on_headers_complete(self) -> None:
        """The head is complete. The endpoint of messages has to know from whom they come."""
        if self.parser.get_method() == b"POST":
            self.client = (peer_of(self.transport), 0)  # uvicorn puts it into the scope
        super().on_headers_complete()

    def serves_itself(self) -> bool:
        """Whether the request asks for an event stream, which the app must not see."""
        return self._stream() is not None

    def took_over(self) -> bool:
        """Turn the connection into an event stream if its request asks for one; say whether."""
        if not self.is_claimed or self.is_deaf:
            return False
        route = self._stream()
        if route is not None:
            self._connect(route)
        return True

    def upgraded(self, rest: bytes | memoryview) -> bool:
        """Turn the connection into a WebSocket, or refuse the request."""
        if b"websocket" not in members(self.headers, b"upgrade"):
            # A server may ignore an offer of h2c. The request for a stream is served without it.
            if self.serves_itself():
                return super().upgraded(rest) and not self.took_over()
            self.turn_away(400, "unknown_upgrade", "expected an upgrade to websocket")
            return False
        route = self.routes.get(self._path())
        if route is None or not route.transport.upgrades:
            prefix = self.sessions.settings.path_prefix
            paths = [
                prefix + path.decode()
                for path, each in self.routes.items()
                if each.transport.upgrades and not path.endswith(b"/")
            ]
            self.turn_away(404, "not_found", f"expected {' or '.join(paths)}")
        elif self.parser.get_method() != b"GET":
            self.turn_away(405, "method", "expected GET", headers=(("allow", "GET"),))
        elif self.parser.get_http_version() != "1.1":  # RFC 6455, section 4.1
            self.turn_away(400, "malformed_request", "expected HTTP/1.1 with an upgrade")
        elif self._has_body():
            self.turn_away(400, "malformed_request", "expected a handshake without a body")
        else:
            self._connect(route, bytes(rest))
        return False

    def _stream(self) -> Route | None:
        """The route of an event stream's request; None: the request asks for something else."""
        if self.parser.get_method() != b"GET":
            return None
        route = self.routes.get(self._path())
        return None if route is None or route.transport.upgrades else route

    def _connect(self, route: Route, rest: bytes = b"") -> None:
        """Let a connection of the route's transport take over, or refuse it."""
        request = self._admissible(route)
        if request is None:
            return
        if self._relays(request, rest):
            return
        socket = route.transport(self.sessions, self.transport)
        refused = socket.handshake(request, route.formats)
        if refused is not None:
            wire = default_of(route.formats).name
            self.sessions.metrics.handshakes.labels(wire, "malformed").inc()
            self.end_with(None, refused)
            return
        self.hand_over(socket)
        socket.open(request)
        if rest:
            socket.data_received(rest)

    def _relays(self, request: ConnectionRequest, rest: bytes) -> bool:
        """Let another pod have a WebSocket whose session is there; says whether it may be."""
        if self.hops is None or not self.polls(request.path.encode("latin-1")):
            return False
        sid = request.field("sid")
        if sid is None:
            return False
        mark = self.hops.mark_elsewhere(sid)
        if mark is None:
            return False
        relay = Relay(self.hops, self.transport)
        self.hand_over(relay)
        relay.begin(request, mark, rest)
        return True

    def _admissible(self, route: Route) -> ConnectionRequest | None:
        """The request for a connection. None means that it was refused here."""
        names = [name for name, _ in self.headers]
        for name in _SINGLE:
            if names.count(name) > 1:
                detail = f"expected one {name.decode().title()} header, got {names.count(name)}"
                self.turn_away(400, "malformed_request", detail)
                return None
        request = self._request()
        wire_format = default_of(route.formats)
        origin = request.header("origin")
        refused = refused_origin(self.sessions, request, peer_of(self.transport))
        if refused is not None:
            self.sessions.metrics.handshakes.labels(wire_format.name, "forbidden_origin").inc()
            self.turn_away(403, "forbidden_origin", refused, headers=readable_by(origin))
            return None
        close = None
        if route.transport.begins(request):
            close = self.sessions.refuse_early(request.address)
        if close is not None:
            self.sessions.metrics.handshakes.labels(wire_format.name, close.label).inc()
            response = route.transport.turned_away(close, origin, wire_format)
            self.end_with(close.label, response)
            return None
        return request

    def _request(self) -> ConnectionRequest:
        request = ConnectionRequest.decoded(*split(self.url), self.headers)
        return located(self.sessions, request, peer_of(self.transport))

    def _path(self) -> bytes:
        """The path below the prefix; empty: there is none."""
        try:
            path, _ = split(self.url)
        except httptools.HttpParserInvalidURLError:
            return b""
        return self._below_prefix(path)

    def _below_prefix(self, path: bytes) -> bytes:
        prefix = self.sessions.settings.path_prefix
        if prefix:
            return (within(prefix, path.decode("latin-1")) or "").encode("latin-1")
        return path

    def _has_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        )

    def turn_away(
        self, status: int, reason: str, detail: str, *, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Refuse the request with a problem document.

        Args:
            status: HTTP status.
            reason: the label by which the refusal is counted.
            detail: what was expected, for people.
            headers: names and values that the answer has besides its own.
        """
        self.end_with(reason, refusal_response(status, detail, headers=headers))


def gateway_protocol(
    sessions: Sessions, routes: Routes | None = None, hops: Hops | None = None
) -> type[GatewayHttpProtocol]:
    """Make the protocol class for uvicorn's ``http`` setting on the public port.

    Args:
        sessions: the pod's; they take each new connection.
        routes: routes by path; None: those that the settings ask for.
        hops: pass on what belongs to other pods; None: nothing is passed on.
    """
    if routes is None:
        routes = routes_of(sessions.settings)
    return protocol_class(
        GatewayHttpProtocol, sessions.port, sessions=sessions, routes=routes, hops=hops
    )
