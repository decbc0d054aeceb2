"""The public port's answers to requests that open no connection.

They are refusals, and in the dev profile the page and the AsyncAPI document.

`clarion_gateway.transports.http` hands such requests to the ASGI app that is built here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clarion_contract.service.origins import AllowedOrigins
from clarion_contract.service.paths import Prefixed, health_routes
from clarion_contract.service.serving import RESPONSE_HEADERS
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.transports.posts import Posts
from clarion_gateway.transports.routes import ROUTES
from clarion_gateway.transports.socket import TcpSocket

_log = structlog.get_logger(__name__)
_DEV_PAGE: Final = "clarion_dev_page"
_NOT_GET: Final = ("HEAD", "POST", "PUT", "PATCH", "DELETE")


def public_app(
    settings: GatewaySettings,
    draining: Callable[[], bool],
    asyncapi: Callable[[str], dict[str, Any]],
    posts: Posts | None = None,
) -> ASGIApp:
    """Build the ASGI app behind the public port's protocol.

    Args:
        draining: whether the pod sends its clients elsewhere.
        asyncapi: makes the AsyncAPI document, by the gateway's URL; the dev profile serves it.
        posts: takes messages for event streams; None: clients cannot send them.
    """
    app = Starlette(exception_handlers={HTTPException: _problem}, middleware=_cors(settings))
    # Such a redirect would lead to any host that the client names in its Host header.
    app.router.redirect_slashes = False
    app.router.routes += health_routes(settings.health_path, draining)
    app.router.routes += [
        _besides_connections(path.decode(), route.transport, posts)
        for path, route in ROUTES.items()
    ]
    if settings.profile == "dev":
        app.router.routes.append(_asyncapi_route(settings, asyncapi))
        app.router.routes.extend(_dev_page(settings))
    return _ResponseHeaders(Prefixed(app, settings.path_prefix))


def _besides_connections(path: str, transport: type[TcpSocket], posts: Posts | None) -> Route:
    """The answer to requests for a path of connections that ask for none."""
    if transport.upgrades:
        return Route(path, _expects_upgrade)
    if posts is not None:
        return Route(path, posts.answer, methods=_NOT_GET)
    return Route(path, _expects_get, methods=_NOT_GET)


def _asyncapi_route(settings: GatewaySettings, asyncapi: Callable[[str], dict[str, Any]]) -> Route:
    async def answer(request: Request) -> Response:
        url = f"{request.url.scheme}://{request.url.netloc}{settings.path_prefix}"
        return JSONResponse(asyncapi(url), headers={"Cache-Control": "no-store"})

    return Route("/asyncapi.json", answer)


def _dev_page(settings: GatewaySettings) -> Sequence[Route]:
    """The routes of the page for developers. The production image does not have its package."""
    if find_spec(_DEV_PAGE) is None:
        _log.warning("no page at /: the package is not installed", package=_DEV_PAGE)
        return ()
    routes: Sequence[Route] = import_module(f"{_DEV_PAGE}.page").routes(settings)
    return routes


class _ResponseHeaders:
    """Adds the headers that every response needs and that the app has not set itself.

    Uvicorn's own setting would not do: it adds a second Content-Security-Policy to a page that has
    one already.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in RESPONSE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _cors(settings: GatewaySettings) -> list[Middleware]:
    """Answer preflight requests of pages that read /sse with fetch and an Authorization header."""
    allowed = AllowedOrigins(settings.allowed_origins, loopback=settings.profile == "dev")
    if not allowed and settings.profile != "dev":
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=allowed,
            allow_methods=["GET", "POST"] if settings.sse_messages else ["GET"],
            allow_headers=["authorization", "cache-control", "content-type", "last-event-id"],
        )
    ]


async def _expects_upgrade(_request: Request) -> Response:
    raise HTTPException(426, "expected an upgrade to websocket", {"Upgrade": "websocket"})


async def _expects_get(_request: Request) -> Response:
    raise HTTPException(405, "expected GET", {"Allow": "GET"})


async def _problem(_request: Request, error: Exception) -> Response:
    """Turn an HTTPException into a problem document (RFC 9457)."""
    if not isinstance(error, HTTPException):
        raise error
    status = error.status_code
    title = HTTPStatus(status).phrase
    return JSONResponse(
        {
            "type": "about:blank",
            "title": title,
            "status": error.status_code,
            "detail": error.detail,
        },
        status_code=status,
        headers=error.headers,
        media_type="application/problem+json",
    )
