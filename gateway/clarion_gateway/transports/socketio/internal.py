"""The internal port of a gateway: besides its app, it takes what other pods pass on.

Only requests that a pod of the same key has signed reach a session
(`clarion_gateway.wire.engineio.hop`). They count among the connections of the public port, which
they come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httptools

from clarion_contract.service.http_protocol import protocol_class
from clarion_contract.service.internal_server import internal_port
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socketio.exchange import Exchange
from clarion_gateway.transports.socketio.requests import response
from clarion_gateway.transports.socketio.server import PollingHttpProtocol
from clarion_gateway.transports.socketio.websocket import SocketIoWebSocket
from clarion_gateway.wire.engineio import errors
from clarion_gateway.wire.engineio.hop import PATH, SIGNATURE, Hop
from clarion_gateway.wire.socketio.format import FRAMED


class InternalHttpProtocol(PollingHttpProtocol):
    """One TCP connection to the internal port."""

    hop: Hop  # set on the subclass that `internal_protocol` makes

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `BoundedHttpProtocol`.

        Other pods may come by the hundred. Beyond the connections that this port has descriptors
        for, one counts among those of clients at once.
        """
        if self.port.open >= self.port.max_sockets:
            self.port = self.sessions.port
        super().connection_made(transport)

    def polls(self, path: bytes) -> bool:
        """See `PollingHttpProtocol`."""
        return path == PATH

    def admits(self, exchange: Exchange) -> bool:
        """See `PollingHttpProtocol`: only other pods may."""
        request = exchange.request
        is_theirs = request.field("sid") is not None and self.hop.is_genuine(
            exchange.method, request.query, request.header(SIGNATURE)
        )
        if not is_theirs:
            self.refuse(exchange, errors.FORBIDDEN)
            return False
        if not self._changed_port():
            self.refuse(exchange, errors.UNAVAILABLE)
            return False
        return True

    def pass_on(self, exchange: Exchange, sid: str) -> bool:  # noqa: ARG002
        """See `PollingHttpProtocol`: nothing is passed on twice."""
        return False

    def upgraded(self, rest: bytes | memoryview) -> bool:
        """See `BoundedHttpProtocol`: take over a WebSocket that another pod relays."""
        url = httptools.parse_url(self.url)
        if url.path != PATH:
            return super().upgraded(rest)
        request = ConnectionRequest.decoded(PATH, url.query or b"", self.headers)
        signature, sid = request.header(SIGNATURE), request.field("sid")
        if sid is None or not self.hop.is_genuine("GET", request.query, signature):
            self.end_with("forbidden_hop", response(errors.FORBIDDEN))
            return False
        if not self._changed_port():
            self.end_with("too_many_sockets", response(errors.UNAVAILABLE))
            return False
        socket = SocketIoWebSocket(self.sessions, self.transport)
        refused = socket.handshake(request, {None: FRAMED})
        if refused is not None:
            self.end_with(None, refused)
            return False
        self.hand_over(socket)
        socket.open(request)
        if rest:
            socket.data_received(bytes(rest))
        return False

    def _changed_port(self) -> bool:
        """Count the connection among those of clients from here on; False: there are too many."""
        public = self.sessions.port
        if self.port is public:
            return True
        public.open += 1
        if public.refusal(self.transport) is not None:
            public.open -= 1
            return False
        self.port.open -= 1
        self.port.forget(self)
        self.port = public
        public.watch(self)
        return True


def internal_protocol(
    sessions: Sessions, refused: Callable[[str], None]
) -> type[InternalHttpProtocol]:
    """Make the protocol class of a gateway's internal port."""
    port = internal_port(refused)
    hop = Hop(lambda: sessions.recovery.key)
    return protocol_class(InternalHttpProtocol, port, sessions=sessions, hop=hop)
