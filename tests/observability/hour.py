"""An hour of plausible traffic for the pictures: browsers come and go, shops publish, and a few
things go wrong as they do in an ordinary hour.

A roll-out at a quarter, lost subscriptions at 45 %, a Redis that comes back empty at 60 %, and a wave of
clients at 80 % of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import psycopg
import redis
from websockets.exceptions import WebSocketException

from tests.e2e.client import EventStream, Socket, opened, streamed
from tests.e2e.stack import Stack
from tests.integration.sockets import request_of
from tests.valkey import Valkey

SETTINGS: Final = {"GATEWAY_MAX_CONNECTIONS": "250", "GATEWAY_MAX_UNSENT_BYTES": "262144"}
USERS: Final = 80
STAY_SECONDS: Final = 240.0
_GONE: Final = (OSError, AssertionError, TimeoutError, WebSocketException, httpx.HTTPError)


class Hour:
    """Clients and producers of one stack for so many seconds."""

    def __init__(self, stack: Stack, valkey: Valkey, seconds: float) -> None:
        self._stack = stack
        self._valkey = valkey
        self._seconds = seconds
        self._started = time.monotonic()
        self._random = random.Random(1)
        self._wave = 0

    async def run(self) -> None:
        """Return when the time is over."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=10))
            for work in (self._crowd(group), self._publish(client), self._mistakes(client),
                         self._operations(), self._rows()):  # fmt: skip
                group.create_task(work)

    async def _rows(self) -> None:
        """An application that writes to the outbox, with a mistake now and then."""
        url = self._stack.publisher.program.environment["PUBLISHER_OUTBOX_URL"]
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            while self._share() < 1:
                audience = "all" if self._random.random() > 0.004 else "everybody"
                await connection.execute("SELECT clarion_publish(%s, 'tick')", [audience])
                await asyncio.sleep(self._random.expovariate(3))

    def _share(self) -> float:
        """How much of the time is over, from 0 to 1 and a little more."""
        return (time.monotonic() - self._started) / self._seconds

    # Clients

    async def _crowd(self, group: asyncio.TaskGroup) -> None:
        """Keep as many browsers as the time of day asks for."""
        browsers: set[asyncio.Task[None]] = set()
        while self._share() < 1:
            wanted = 60 + 60 * math.sin(math.pi * self._share()) + self._wave
            if len(browsers) < wanted:
                browser = group.create_task(self._browser())
                browsers.add(browser)
                browser.add_done_callback(browsers.discard)
            await asyncio.sleep(0.3)
        for browser in list(browsers):
            browser.cancel()

    async def _browser(self) -> None:
        """One person's page: it reads until it is closed, and comes back where it was."""
        user = f"user-{self._random.randrange(USERS)}" if self._random.random() < 0.75 else None
        kind = self._socket if self._random.random() < 0.8 else self._stream
        ends = time.monotonic() + self._random.expovariate(1 / STAY_SECONDS)
        position: str | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ends - time.monotonic()):
                while True:
                    gateway = self._random.choice(self._stack.gateways).url
                    token = self._stack.token(user) if user else None
                    with contextlib.suppress(*_GONE):
                        async for reached in kind(gateway, token, position):
                            position = reached
                    await asyncio.sleep(self._random.uniform(0.2, 2))

    async def _socket(
        self, gateway: str, token: str | None, since: str | None
    ) -> AsyncIterator[str]:
        query = {"since": since} if since else {}
        async with opened(gateway, token, **query) as client:
            yield client.welcome["id"]
            talking = asyncio.create_task(self._talk(client, token is not None))
            try:
                async for text in client.connection:
                    message = json.loads(text)
                    if message["kind"] == "event" and "id" in message:
                        yield message["id"]
            finally:
                talking.cancel()

    async def _talk(self, client: Socket, known: bool) -> None:
        """Chat now and then; one message in thirty is a mistake."""
        for number in range(1_000):
            await asyncio.sleep(self._random.expovariate(1 / 30))
            text: object = 5 if self._random.random() < 0.03 else "Hello"
            if known:
                data = {"text": text}
                await client.send(kind="message", ref=number, type="chat.message", data=data)
                await client.send(kind="message", ref=number, type="order.place", data=data)

    async def _stream(
        self, gateway: str, token: str | None, since: str | None
    ) -> AsyncIterator[str]:
        async with streamed(gateway, token, since) as stream:
            while True:
                fields = await _next_of(stream)
                if "id" in fields:
                    yield fields["id"]

    # Producers

    async def _publish(self, client: httpx.AsyncClient) -> None:
        number = 0
        while self._share() < 1:
            number += 1
            rate = 6 + 8 * math.sin(math.pi * self._share()) ** 2
            await asyncio.sleep(self._random.expovariate(rate))
            event = self._event(number)
            with contextlib.suppress(httpx.HTTPError):
                if number % 12 == 0:
                    events = [self._event(number) for _ in range(10)]
                    await self._post(client, {"events": events}, "/v1/events:batch")
                else:
                    key = f"order-{number - (number % 50 == 0)}"  # one in fifty is sent twice
                    await self._post(client, event, "/v1/events", **{"Idempotency-Key": key})

    def _event(self, number: int) -> dict[str, Any]:
        (audience,) = self._random.choices(
            ["all", "authenticated", {"user": f"user-{self._random.randrange(USERS)}"}],
            [1, 2, 7],
        )
        return {"audience": audience, "type": "order.updated", "data": {"number": number}}

    async def _post(
        self, client: httpx.AsyncClient, body: object, path: str, token: str = "", **headers: str
    ) -> None:
        scopes = "publish:all publish:authenticated publish:user users:disconnect"
        token = token or self._stack.signer.sign("shop", scope=scopes, expires_seconds=60)
        headers["Authorization"] = f"Bearer {token}"
        await client.post(self._stack.publisher.url + path, json=body, headers=headers)

    async def _mistakes(self, client: httpx.AsyncClient) -> None:
        """Everyday mistakes of clients and producers, and what support does."""
        while self._share() < 1:
            await asyncio.sleep(self._random.expovariate(1 / 25))
            gateway = self._random.choice(self._stack.gateways).url
            with contextlib.suppress(*_GONE):
                await self._mistake(client, gateway, self._random.randrange(7))

    async def _mistake(self, client: httpx.AsyncClient, gateway: str, number: int) -> None:
        match number:
            case 0:
                await self._knock(gateway, "/ws", {"Origin": "http://elsewhere.example"})
            case 1:
                await self._knock(gateway, "/nowhere", {})
            case 2:
                await self._knock(gateway, "/ws", {"Authorization": "Bearer no.token.atall"})
            case 3:
                await self._post(client, {"type": "a b"}, "/v1/events")
            case 4:
                await self._post(client, self._event(0), "/v1/events", "no.token.atall")
            case 5:
                user = f"user-{self._random.randrange(USERS)}"
                await self._post(client, {}, f"/v1/users/{user}/disconnect")
            case _:
                await self._sleeper(gateway)

    async def _knock(self, gateway: str, path: str, headers: dict[str, str]) -> None:
        parts = urlsplit(gateway)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(request_of(path, headers=headers))
        await asyncio.wait_for(reader.read(100), 5)
        writer.close()

    async def _sleeper(self, gateway: str) -> None:
        """A laptop in a tunnel: it reads nothing until its gateway closes it."""
        parts = urlsplit(gateway)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (parts.hostname, parts.port))
            bearer = {"Authorization": f"Bearer {self._stack.token('sleeper')}"}
            await loop.sock_sendall(sock, request_of(headers=bearer))
            for _ in range(10):
                big = {"audience": {"user": "sleeper"}, "type": "big", "data": "x" * 60_000}
                await self._stack.attempt(big)
            await asyncio.sleep(20)

    # What operators and machines do

    async def _operations(self) -> None:
        for share, happen in ((0.25, self._roll_out), (0.45, self._lose_subscriptions),
                              (0.6, self._lose_redis), (0.8, self._come_in_a_wave)):  # fmt: skip
            await asyncio.sleep(max(0.0, (share - self._share()) * self._seconds))
            await happen()

    async def _roll_out(self) -> None:
        for gateway in self._stack.gateways:
            gateway.terminate()
            await asyncio.to_thread(gateway.wait)
            gateway.start()
            await asyncio.to_thread(gateway.wait_until_ready)
            await asyncio.sleep(30)

    async def _lose_subscriptions(self) -> None:
        with redis.Redis(port=self._valkey.port) as client:
            for _ in range(5):
                client.client_kill_filter(_type="pubsub")
                await asyncio.sleep(1)

    async def _lose_redis(self) -> None:
        self._valkey.kill()
        await asyncio.sleep(20)
        await asyncio.to_thread(self._valkey.start)

    async def _come_in_a_wave(self) -> None:
        self._wave = 120
        await asyncio.sleep(self._seconds * 0.05)
        self._wave = 0


async def _next_of(stream: EventStream) -> dict[str, Any]:
    while True:
        fields = await stream._receive()
        if fields:
            return fields
