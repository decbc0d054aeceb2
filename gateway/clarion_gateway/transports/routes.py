"""The paths where clients connect, one row each.

`clarion_gateway.transports.http` looks up each request here. To offer one more wire format, add
it to the formats of a row under its subprotocol, or add a row. The path of Socket.IO is a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from clarion_gateway.settings import GatewaySettings
from clarion_gateway.transports.socket import TcpSocket
from clarion_gateway.transports.socketio.websocket import SocketIoWebSocket
from clarion_gateway.transports.sse import EventStream
from clarion_gateway.transports.websocket import WebSocket
from clarion_gateway.wire.format import Formats, Framed
from clarion_gateway.wire.native import NATIVE, SUBPROTOCOL
from clarion_gateway.wire.socketio.format import FRAMED
from clarion_gateway.wire.sse import SSE


@dataclass(frozen=True, slots=True)
class Route:
    """The transport that serves a path, and the wire formats that clients may choose there."""

    transport: type[TcpSocket]
    formats: Formats


Routes = Mapping[bytes, Route]
"""Routes by path."""

ROUTES: Final[Routes] = {
    b"/ws": Route(WebSocket, {None: NATIVE, SUBPROTOCOL: NATIVE}),
    b"/sse": Route(EventStream, {None: Framed(SSE)}),
}

_SOCKETIO: Final = Route(SocketIoWebSocket, {None: FRAMED})


def routes_of(settings: GatewaySettings) -> Routes:
    """All routes of a gateway. Some clients of Socket.IO leave out the slash at the end."""
    if not settings.socketio:
        return ROUTES
    path = settings.socketio_path.encode()
    return {**ROUTES, path + b"/": _SOCKETIO, path: _SOCKETIO}
