"""Everything that a metric counts happens to a stack at least once, while Prometheus scrapes it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import urlsplit

import httpx
import psycopg
import redis
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.client import opened, streamed
from tests.e2e.stack import Service, Stack
from tests.integration.sockets import request_of
from tests.valkey import Valkey

MAX_CONNECTIONS: Final = 40
SETTINGS: Final = {
    "GATEWAY_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
    "GATEWAY_MAX_UNSENT_BYTES": "65536",
    "GATEWAY_PROBE_INTERVAL_SECONDS": "1",
    "GATEWAY_PROBE_TIMEOUT_SECONDS": "1",
    "GATEWAY_DRAIN_SPREAD_SECONDS": "2",
}
AUDIENCES: Final = ("all", "authenticated", {"user": "alice"}, {"user": "bob"})
BIG: Final = "x" * 60_000
SECONDS: Final = 60.0


class Traffic:
    """Clients and producers of one stack, on its own Valkey.

    Args:
        last_scrape: when the service that was scraped longest ago was scraped, in seconds since 1970.
    """

    def __init__(
        self,
        stack: Stack,
        valkey: Valkey,
        client: httpx.AsyncClient,
        last_scrape: Callable[[], float],
    ) -> None:
        self._stack = stack
        self._last_scrape = last_scrape
        self._namespace = stack.publisher.program.environment["CLARION_NAMESPACE"]
        self._valkey = valkey
        self._client = client
        self._first, self._second = (gateway.url for gateway in stack.gateways)
        self._alice = stack.token("alice")
        self._bob = stack.token("bob")

    async def run(self) -> float:
        """Return when everything has happened and was scraped.

        Returns:
            The time at which nothing was wrong yet, and Prometheus knew it: seconds since 1970.
        """
        await until(self._is_well, "services that do all they are to do")
        await self._scraped()
        well_at = time.time()
        publishing = asyncio.create_task(self._publish_for_ever())
        try:
            async with AsyncExitStack() as held:
                for gateway in (self._first, self._second):
                    for token in (None, self._alice, self._bob):
                        await held.enter_async_context(self._held_socket(gateway, token))
                        await held.enter_async_context(self._held_stream(gateway, token))
                for happen in (
                    self._mistakes,
                    self._slow_consumer,
                    self._lost_subscription,
                    self._lost_redis,
                    self._crowd,
                    self._mistakes,
                ):
                    await happen()
                    await self._scraped()
                self._stack.gateways[1].terminate()  # drains for two seconds
                await self._scraped(2)
        finally:
            publishing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await publishing
        return well_at

    async def _is_well(self) -> bool:
        """Whether a publisher also reads its outbox and the producers' Redis, as it does soon."""
        return (
            await self._counted("clarion_publisher_outbox_connected") == 1
            and await self._counted("clarion_publisher_socketio_reading") == 1
        )

    async def _mistakes(self) -> None:
        """Everyday mistakes. Twice, since a counter that begins with 1 shows no rise at first."""
        await self._bad_publishes()
        await self._orders()
        await self._strangers()
        await self._messages()
        await self._resumes()
        await asyncio.to_thread(self._rows)

    # Producers

    def _rows(self) -> None:
        """Rows of the outbox: a good one, a bad one, and the end of the publisher's connection."""
        url = self._stack.publisher.program.environment["PUBLISHER_OUTBOX_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            for audience in ("all", "everybody"):
                connection.execute("SELECT clarion_publish(%s, 'tick')", [audience])
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'clarion-publisher'"
            )

    async def _post(
        self, body: object, *, path: str = "/v1/events", token: str | None = "", **headers: str
    ) -> httpx.Response:
        scopes = "publish:all publish:authenticated publish:user"
        if token == "":
            token = self._stack.signer.sign("shop", scope=scopes, expires_seconds=60)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return await self._client.post(self._stack.publisher.url + path, json=body, headers=headers)

    async def _publish_for_ever(self) -> None:
        number = 0
        while True:
            number += 1
            events = [
                {"audience": audience, "type": "tick", "data": {"number": number}}
                for audience in AUDIENCES
            ]
            await self._post(events[number % len(events)], **{"Idempotency-Key": f"{number // 2}"})
            if number % 5 == 0:
                await self._post({"events": events}, path="/v1/events:batch")
            await asyncio.sleep(0.05)

    async def _bad_publishes(self) -> None:
        event = {"audience": "all", "type": "tick", "data": None}
        only_users = self._stack.signer.sign("shop", scope="publish:user", expires_seconds=60)
        assert (await self._post({**event, "type": "a b"})).status_code == 422
        assert (await self._post(event, token=None)).status_code == 401
        assert (await self._post(event, token="no.token.atall")).status_code == 401
        assert (await self._post(event, token=only_users)).status_code == 403

    async def _orders(self) -> None:
        """Orders to close a user's connections and to revoke the user's tokens."""
        support = self._stack.signer.sign("support", scope="users:disconnect", expires_seconds=60)
        for path in ("/v1/users/mallory/disconnect", "/v1/users/mallory/revoke"):
            assert (await self._post({}, path=path, token=support)).status_code == 200

    # Clients

    @contextlib.asynccontextmanager
    async def _held_socket(self, gateway: str, token: str | None) -> AsyncIterator[None]:
        """A client that reads everything that comes."""
        async with opened(gateway, token) as client:

            async def read() -> None:
                with contextlib.suppress(ConnectionClosed):
                    async for _ in client.connection:
                        pass

            reading = asyncio.create_task(read())
            try:
                yield
            finally:
                await client.connection.close()
                await reading

    @contextlib.asynccontextmanager
    async def _held_stream(self, gateway: str, token: str | None) -> AsyncIterator[None]:
        async with streamed(gateway, token) as stream:

            async def read() -> None:
                async for _ in stream.response.aiter_bytes():
                    pass

            reading = asyncio.create_task(read())
            try:
                yield
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
                    await reading

    async def _strangers(self) -> None:
        """Bad tokens, bad paths, a malformed position, an origin that is not allowed."""
        for query in ({"token": "no.token.atall"}, {"since": "yesterday"}):
            with contextlib.suppress(AssertionError, ConnectionClosed):
                async with opened(self._first, **query):
                    pass
        for path, headers in (("/nowhere", {}), ("/ws", {"Origin": "http://elsewhere.example"})):
            reader, writer = await asyncio.open_connection(*self._address(self._first))
            writer.write(request_of(path, headers=headers))
            assert b" 40" in await reader.readline()
            writer.close()

    async def _messages(self) -> None:
        """A client that logs in, sends messages, makes mistakes, and logs out."""
        async with opened(self._first) as client:
            await client.send(kind="auth", ref=1, token=self._alice)
            await client.send(kind="auth", ref=2, token=self._alice)
            await client.send(kind="message", ref=3, type="chat.message", data={"text": "Hello"})
            await client.send(kind="message", ref=4, type="chat.message", data={"text": 5})
            await client.send(kind="message", ref=5, type="no.such", data=None)
            await client.send(kind="message", ref=7, type="order.place", data={"id": 42})
            await client.send(kind="nonsense")
            await client.send(kind="auth", ref=6, token=None)
            while (await client.receive()).get("ref") != 6:
                pass

    async def _resumes(self) -> None:
        """One client resumes at once, another after a long time."""
        async with opened(self._first, self._alice) as client:
            position = client.welcome["id"]
        for gateway, since in ((self._second, position), (self._first, "1")):
            async with opened(gateway, self._alice, since=since) as client:
                assert client.welcome["resumed"] is (since == position)

    async def _slow_consumer(self) -> None:
        """A client that reads nothing until its gateway closes it."""
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, self._address(self._first))
            bearer = {"Authorization": f"Bearer {self._stack.token('sleeper')}"}
            await loop.sock_sendall(sock, request_of(headers=bearer))

            async def was_closed() -> bool:
                batch = [{"audience": {"user": "sleeper"}, "type": "big", "data": BIG}] * 20
                answer = await self._post({"events": batch}, path="/v1/events:batch")
                assert answer.is_success, answer.text
                return await self._counted("clarion_slow_consumers_total") > 0

            await until(was_closed, "a slow consumer")

    async def _crowd(self) -> None:
        """More clients than the second gateway accepts."""
        async with AsyncExitStack() as held:
            with contextlib.suppress(InvalidStatus):
                for _ in range(MAX_CONNECTIONS + 1):
                    await held.enter_async_context(self._held_socket(self._second, None))
                raise AssertionError("expected 503")
            await self._scraped(2)

    # The bus

    async def _lost_subscription(self) -> None:
        """Subscriptions die while events are published, until a gateway has to repair a gap."""

        async def was_repaired() -> bool:
            with redis.Redis(port=self._valkey.port) as client:
                client.publish(f"{self._namespace}:{{all}}", b"no event")
                client.client_kill_filter(_type="pubsub")
            await asyncio.sleep(0.5)
            return await self._counted("clarion_gaps_total", 'outcome="repaired"') > 0

        await until(was_repaired, "a repaired gap")

    async def _lost_redis(self) -> None:
        """Redis goes away, and returns without its data."""
        async with opened(self._first, self._alice) as client:
            self._valkey.kill()
            await client.send(kind="message", ref=1, type="chat.message", data={"text": "Hello?"})

            async def is_noticed() -> bool:
                failed = 'outcome="bus_unavailable"'
                return (
                    await self._counted("clarion_bus_connects_total", 'outcome="failed"') > 0
                    and await self._counted("clarion_publish_requests_total", failed) > 0
                    and await self._counted(
                        "clarion_messages_received_total", 'outcome="unavailable"'
                    )
                    > 0
                )

            await until(is_noticed, "a Redis that is gone")
            # A rise is seen only if failures go on after the first ones were scraped.
            await self._scraped()
            await self._rises("clarion_bus_connects_total", 'outcome="failed"')
            await self._rises("clarion_publish_requests_total", 'outcome="bus_unavailable"')
            await self._scraped()
        self._valkey.start()

        async def is_lost() -> bool:
            return await self._counted("clarion_gaps_total", 'outcome="lost"') > 0

        await until(is_lost, "events that are lost")

    # Looking

    async def _scraped(self, times: int = 1) -> None:
        """Return when every service has been scraped since, so many times."""
        for _ in range(times):
            since = time.time()

            async def is_scraped(since: float = since) -> bool:
                return await asyncio.to_thread(self._last_scrape) > since

            await until(is_scraped, "a scrape of every service")

    async def _rises(self, metric: str, label: str) -> None:
        """Return when a metric has risen."""
        before = await self._counted(metric, label)

        async def has_risen() -> bool:
            return await self._counted(metric, label) > before

        await until(has_risen, f"a rise of {metric}")

    async def _counted(self, metric: str, label: str = "") -> float:
        """The sum of a metric over all services."""
        pages = await asyncio.gather(*map(self._metrics, self._stack.services))
        return sum(
            float(line.rpartition(" ")[2])
            for page in pages
            for line in page.splitlines()
            if line.startswith((f"{metric}{{", f"{metric} ")) and label in line
        )

    async def _metrics(self, service: Service) -> str:
        return (await self._client.get(f"{service.internal_url}/metrics")).text

    @staticmethod
    def _address(url: str) -> tuple[str, int]:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            while not await condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {SECONDS:g} s: {what}") from None


async def drive(stack: Stack, valkey: Valkey, last_scrape: Callable[[], float]) -> float:
    """Make everything happen; see `Traffic.run`."""
    async with httpx.AsyncClient(trust_env=False, timeout=SECONDS) as client:
        return await Traffic(stack, valkey, client, last_scrape).run()
