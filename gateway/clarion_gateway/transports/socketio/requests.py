"""The requests of Engine.IO: what their query asks for, and the answers that refuse them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clarion_contract.service.http_response import whole_response
from clarion_gateway.clients.origins import readable_by
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.wire.engineio import errors
from clarion_gateway.wire.engineio.errors import EngineError
from clarion_gateway.wire.engineio.packets import VERSION

POLLING: Final = "polling"
WEBSOCKET: Final = "websocket"
JSON: Final = "application/json"

_METHODS: Final = "GET, POST, OPTIONS"
_PREFLIGHT_SECONDS: Final = 600
_ASKED_MAX_CHARACTERS: Final = 1_000


def refused(request: ConnectionRequest) -> EngineError | None:
    """Why a WebSocket can neither begin nor go on with a session; None: it may."""
    if request.field("transport") != WEBSOCKET:
        return errors.UNKNOWN_TRANSPORT
    if request.field("EIO") != VERSION:
        return errors.UNSUPPORTED_VERSION
    return None


def refused_poll(fields: Mapping[str, str], method: str) -> EngineError | None:
    """Why a request without an upgrade can neither begin nor go on with a session; None: it may.

    Args:
        fields: of the query.
    """
    transport = fields.get("transport")
    if transport not in {POLLING, WEBSOCKET}:
        return errors.UNKNOWN_TRANSPORT
    if fields.get("EIO") != VERSION:
        return errors.UNSUPPORTED_VERSION
    begins = fields.get("sid") is None
    if begins and method != "GET":
        return errors.NOT_GET
    if transport == WEBSOCKET or method not in {"GET", "POST"}:
        return errors.BAD_REQUEST
    return None


def readable(origin: str | None) -> list[tuple[str, str]]:
    """Headers by which a page of an allowed origin may read an answer, also one with credentials.

    Many pages ask for credentials because other servers need cookies. The gateway has none.
    """
    if origin is None:
        return []
    return [*readable_by(origin), ("access-control-allow-credentials", "true")]


def preflight(request: ConnectionRequest) -> list[tuple[str, str]]:
    """Headers of the answer to ``OPTIONS``: a page of an allowed origin may send what it asks."""
    origin = request.header("origin")
    if origin is None:
        return [("allow", _METHODS)]
    asked = (request.header("access-control-request-headers") or "")[:_ASKED_MAX_CHARACTERS]
    return [
        *readable(origin),
        ("access-control-allow-methods", _METHODS),
        ("access-control-allow-headers", asked or "content-type"),
        ("access-control-max-age", str(_PREFLIGHT_SECONDS)),
    ]


def response(error: EngineError, origin: str | None = None) -> bytes:
    """The whole HTTP response that refuses a request.

    Args:
        origin: of the page that may read it; None: no page asked.
    """
    return whole_response(error.status, JSON, error.body, readable(origin))
