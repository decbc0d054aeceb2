"""Where clients connect: one row for each path.

`clarion_gateway.transports.http` asks this table what a request wants. To offer a wire format,
add it to the formats of a row under its subprotocol, or add a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from clarion_gateway.transports.socket import SocketConnection
from clarion_gateway.transports.sse import SseConnection
from clarion_gateway.transports.websocket import WebSocketConnection
from clarion_gateway.wire.format import Formats, Framed
from clarion_gateway.wire.native import NATIVE, SUBPROTOCOL
from clarion_gateway.wire.sse import SSE


@dataclass(frozen=True, slots=True)
class Route:
    """What a client that asks for a path gets."""

    transport: type[SocketConnection]
    formats: Formats


Routes = Mapping[bytes, Route]
"""Routes by path."""

ROUTES: Final[Routes] = {
    b"/ws": Route(WebSocketConnection, {None: NATIVE, SUBPROTOCOL: NATIVE}),
    b"/sse": Route(SseConnection, {None: Framed(SSE)}),
}
