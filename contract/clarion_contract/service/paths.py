"""Parts that all public paths of a service share: a prefix, and a path for health checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

OFF: Final = "off"
"""In place of a path for health checks: there is none."""


def within(prefix: str, path: str) -> str | None:
    """The path below a prefix.

    >>> within("/realtime", "/realtime/ws")
    '/ws'

    Returns:
        None if the path does not lie below the prefix. It has to go on with a slash.
    """
    below = path.removeprefix(prefix)
    return below if path.startswith(prefix) and below.startswith("/") else None


def health_routes(path: str, draining: Callable[[], bool]) -> list[Route]:
    """The path for load balancers that demand a 200 on the port that they balance.

    It tells nothing but whether to send requests here: 200, and 503 while the service drains.
    Redis and keys are readiness, which only the internal port tells.

    Args:
        path: or `OFF`.
    """

    async def health(_request: Request) -> Response:
        if draining():
            return PlainTextResponse("unavailable\n", 503)
        return PlainTextResponse("ok\n")

    return [] if path == OFF else [Route(path, health)]


class Prefixed:
    """An app below a prefix. A request for another path reaches it with an empty one: not found.

    Args:
        prefix: ``/realtime``; empty: no prefix.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without the prefix."""
        if self._prefix and scope["type"] == "http":
            path = within(self._prefix, scope["path"]) or ""
            raw_path = within(self._prefix, scope["raw_path"].decode("latin-1")) or ""
            scope = {**scope, "path": path, "raw_path": raw_path.encode("latin-1")}
        await self._app(scope, receive, send)
