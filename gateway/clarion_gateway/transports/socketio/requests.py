"""The requests of Engine.IO: what their query asks for, and the answers that refuse them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from clarion_contract.service.serving import RESPONSE_HEADERS
from clarion_gateway.clients.origins import readable_by
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.wire.engineio import errors
from clarion_gateway.wire.engineio.errors import EngineError
from clarion_gateway.wire.engineio.packets import VERSION

WEBSOCKET: Final = "websocket"


def refused(request: ConnectionRequest) -> EngineError | None:
    """Why a WebSocket cannot begin a session; None: it can."""
    if request.field("transport") != WEBSOCKET:
        return errors.UNKNOWN_TRANSPORT
    if request.field("EIO") != VERSION:
        return errors.UNSUPPORTED_VERSION
    if request.field("sid") is not None:
        return errors.UNKNOWN_SESSION
    return None


def response(error: EngineError, origin: str | None = None) -> bytes:
    """The whole HTTP response that refuses a request.

    Args:
        origin: of the page that may read it; None: no page asked.
    """
    body = error.body
    lines = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in RESPONSE_HEADERS.items()),
        "connection: close",
        *(f"{name}: {value}" for name, value in readable_by(origin)),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
