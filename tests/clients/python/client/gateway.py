"""A scripted gateway, for what a real one does seldom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request

from clarion.client.websocket import SUBPROTOCOL

Script = Callable[[ServerConnection], Awaitable[None]]


class Gateway:
    """Plays one script per connection, in order, and records the requests."""

    def __init__(self, *scripts: Script) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self._scripts = list(scripts)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        async with serve(self._play, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            yield self

    async def _play(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.requests.append(socket.request)
        await self._scripts[len(self.requests) - 1](socket)


def script(*messages: dict[str, Any], close: int | None = None, reason: str = "") -> Script:
    """Send messages, then close with that code; None: wait for the client to go."""

    async def play(socket: ServerConnection) -> None:
        for message in messages:
            await socket.send(json.dumps(message))
        if close is None:
            await socket.wait_closed()
        else:
            await socket.close(close, reason)

    return play


def welcome(position: str = "10", **changes: Any) -> dict[str, Any]:
    return {
        "kind": "welcome", "connection": "c", "user": None, "pod": "g", "id": position,
        "resumed": None, "expires_in": None, "ping_interval": 25, **changes,
    }  # fmt: skip


def event(id_: str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "event", "id": id_, "audience": "all", "type": "a.b",
        "time": "2026-01-02T03:04:05.678901Z", "data": 1, **changes,
    }  # fmt: skip
