"""A backend on a real port that answers as a test tells it, and keeps what it was sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Upstream:
    """The backend.

    Attributes:
        answer: makes the response to a request; each test sets its own.
        bodies, headers: of the requests so far, in order.
    """

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], Awaitable[web.StreamResponse]] | None = None

    @property
    def events(self) -> list[dict[str, Any]]:
        """The CloudEvents so far."""
        return [json.loads(body) for body in self.bodies]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.answer is None:
            return web.json_response({"reply": json.loads(body)["data"]})
        return await self.answer(json.loads(body))


def says(**answer: Any) -> Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]:
    """An answer that is always the same."""

    async def respond(_: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(answer)

    return respond


async def hang(_: dict[str, Any]) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


@contextlib.asynccontextmanager
async def backend() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application()
    app.router.add_post("/clarion", upstream.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)  # 0 means for ever
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    upstream.url = f"http://127.0.0.1:{port}/clarion"
    try:
        yield upstream
    finally:
        await runner.cleanup()
