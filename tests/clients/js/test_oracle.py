"""Pages in real browsers over two gateways, against an oracle: every event once, in order.

Gateways are killed and drained, Redis is restarted, tokens end, tabs sleep, pages go and come back.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.clients.balancer import balanced
from tests.clients.js.browsers import BROWSERS, ChromiumPage, Page, running, until
from tests.clients.js.web import served
from tests.e2e.stack import Stack, make_stack
from tests.integration.pod import SECONDS
from tests.valkey import Valkey

TOPIC = "order.1"
AUDIENCES: tuple[object, ...] = ("all", "authenticated", {"user": "alice"}, {"topic": TOPIC})
TOKEN_SECONDS = 4

OPEN = """
async ([url, options]) => {
  const { createClient, fetchToken } = await import("/index.js");
  Object.assign(window, { heard: [], refreshes: [], reasons: [] });
  window.client = createClient({ url, getToken: fetchToken("/state/token"), ...options });
  client.onAny(({ data }) => heard.push(data));
  client.onRefresh(({ reason, topic }) => refreshes.push(topic ? [reason, topic] : reason));
  client.onStatus(({ reason }) => reasons.push(reason));
}
"""


class World:
    """Two gateways behind a load balancer, a web server for the pages, and what was published."""

    def __init__(
        self, stack: Stack, valkey: Valkey, url: str, origin: str, balanced_ports: list[int]
    ) -> None:
        self.stack = stack
        self.valkey = valkey
        self.url = url
        self.origin = origin
        self.balanced_ports = balanced_ports
        self._numbers_by_id: dict[int, int] = {}
        self._numbers = itertools.count()

    async def publish(self) -> int:
        """Publish the next event, however long it takes, and once only."""
        number = next(self._numbers)
        audience = AUDIENCES[number % len(AUDIENCES)]
        event = {"audience": audience, "type": "tick", "data": number, "key": f"k-{number}"}
        while not (answer := await self.stack.attempt(event)).is_success:
            await asyncio.sleep(0.05)
        self._numbers_by_id[int(answer.json()["id"])] = number
        return number

    @property
    def published(self) -> list[int]:
        """The numbers of all events, in the order of their ids: publishers may run at once."""
        return [number for _, number in sorted(self._numbers_by_id.items())]

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Publish one event after the other until the context ends."""
        stopped = asyncio.Event()

        async def publish() -> None:
            while not stopped.is_set():
                await self.publish()

        task = asyncio.create_task(publish())
        try:
            yield
        finally:
            stopped.set()
            await task

    async def opened(self, page: Page, **options: Any) -> None:
        await page.evaluate(OPEN, [self.url, {"topics": [TOPIC], **options}])
        await until(page, "client.status.state === 'open'")

    async def are_gone(self) -> None:
        """Wait until no gateway has a connection."""
        async with asyncio.timeout(SECONDS), httpx.AsyncClient(trust_env=False) as http:
            for gateway in self.stack.gateways:
                while await _connections(http, gateway.internal_url):
                    await asyncio.sleep(0.02)

    async def has_all(self, page: Page) -> None:
        """Check that a page has heard everything once, in order, and never had to begin anew."""
        last = await self.publish()
        await until(page, f"heard.includes({last})")
        assert await page.evaluate("() => heard") == self.published
        assert await page.evaluate("() => refreshes") == ["first"]


async def _connections(http: httpx.AsyncClient, url: str) -> float:
    lines = (await http.get(f"{url}/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("clarion_connections{"))


@pytest.fixture
def folder(package: Path, origin: str) -> Path:
    """The files of the pages."""
    return package / "dist"


@pytest_asyncio.fixture
async def world(
    lasting_valkey: Valkey, tmp_path: Path, namespace: str, folder: Path
) -> AsyncIterator[World]:
    stack = make_stack(tmp_path, lasting_valkey.url, namespace, GATEWAY_DRAIN_SPREAD_SECONDS="0.2")
    ports = [httpx.URL(gateway.url).port or 0 for gateway in stack.gateways]

    def token(_: str) -> str:
        return stack.token("alice", TOKEN_SECONDS, subscribe=["order.*"])

    with stack.running(), served(folder, token) as origin:
        async with balanced(ports) as url:
            yield World(stack, lasting_valkey, url, origin, ports)


@pytest.mark.parametrize("name", BROWSERS)
async def test_gateways_die_and_drain_redis_restarts_and_tokens_end(
    world: World, tmp_path: Path, name: str
) -> None:
    one, other = world.stack.gateways
    async with running(name, tmp_path) as browser:
        pages = [await browser.page(f"{world.origin}/page.html") for _ in range(2)]
        for page, transport in zip(pages, ("websocket", "sse"), strict=True):
            await world.opened(page, transport=transport)
        async with world.publishing():
            for gateway, end in ((one, one.kill), (other, other.terminate)):
                end()
                await asyncio.to_thread(gateway.wait)
                gateway.start()
                await asyncio.to_thread(gateway.wait_until_ready)
            world.valkey.kill()
            await asyncio.to_thread(world.valkey.start)
            begin = await world.publish()  # it works again
            for page in pages:
                await until(page, f"heard.includes({begin})")
                # Tokens live for seconds: they were replaced while events flowed.
                await until(page, f"client.status.expiresAt > Date.now() + {TOKEN_SECONDS * 500}")
        for page in pages:
            await world.has_all(page)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("name", BROWSERS)
async def test_a_laptop_that_slept_leaves_a_connection_that_is_dead(
    world: World, tmp_path: Path, name: str, transport: str
) -> None:
    """Timers stand still while it sleeps, the clock on the wall does not."""
    async with running(name, tmp_path) as browser:
        page = await browser.page(f"{world.origin}/page.html")
        await world.opened(page, transport=transport)
        hanging = world.stack.gateways[0].process  # the balancer's first: nothing closes it
        assert hanging is not None
        hanging.send_signal(signal.SIGSTOP)
        await world.publish()
        await page.evaluate(
            """() => {
              const now = Date.now;
              Date.now = () => now() + 3_600_000;
              window.dispatchEvent(new Event("online"));
            }"""
        )
        await until(page, "reasons.includes('the gateway went silent')")
        del world.balanced_ports[0]  # a load balancer's health check finds that it hangs
        await world.has_all(page)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("name", BROWSERS)
async def test_a_page_that_is_left_and_shown_again_goes_on(
    world: World, tmp_path: Path, name: str, transport: str
) -> None:
    """As with the back-forward cache, which keeps pages that have no open connection.

    Browsers without a window do not use it, so the page itself sends the events of it.
    """
    transition = """(type) => {
      window.dispatchEvent(new PageTransitionEvent(type, { persisted: true }));
    }"""
    async with running(name, tmp_path) as browser:
        page = await browser.page(f"{world.origin}/page.html")
        await world.opened(page, transport=transport)
        await world.publish()
        await page.evaluate(transition, "pagehide")
        await world.are_gone()
        for _ in range(8):
            await world.publish()
        await page.evaluate(transition, "pageshow")
        await world.has_all(page)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("name", BROWSERS[:1])
async def test_a_frozen_tab_catches_up_when_it_wakes(
    world: World, tmp_path: Path, name: str, transport: str
) -> None:
    """Browsers freeze tabs that nobody has looked at for minutes. Their gateway dies meanwhile."""
    async with running(name, tmp_path) as browser:
        page = await browser.page(f"{world.origin}/page.html")
        assert isinstance(page, ChromiumPage)
        await world.opened(page, transport=transport)
        devtools = await page.tab.context.new_cdp_session(page.tab)
        await devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
        for gateway in world.stack.gateways:
            await world.publish()
            gateway.kill()
            gateway.start()
            await asyncio.to_thread(gateway.wait_until_ready)
        await devtools.send("Page.setWebLifecycleState", {"state": "active"})
        await world.has_all(page)


@pytest.mark.parametrize("name", BROWSERS[:1])
async def test_a_page_that_is_online_again_does_not_wait(
    world: World, tmp_path: Path, name: str
) -> None:
    async with running(name, tmp_path) as browser:
        page = await browser.page(f"{world.origin}/page.html")
        assert isinstance(page, ChromiumPage)
        await world.opened(page)
        for gateway in world.stack.gateways:
            gateway.kill()
        await page.tab.context.set_offline(True)
        await until(page, "client.status.failures >= 3")
        for gateway in world.stack.gateways:
            gateway.start()
            await asyncio.to_thread(gateway.wait_until_ready)
        await world.publish()
        await page.tab.context.set_offline(False)
        await until(page, "reasons.includes('the network may be back')")
        await world.has_all(page)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("name", BROWSERS)
async def test_a_token_endpoint_that_says_401_closes_the_page_for_good(
    world: World, tmp_path: Path, name: str, transport: str
) -> None:
    async with running(name, tmp_path) as browser:
        page = await browser.page(f"{world.origin}/page.html")
        await world.opened(page, transport=transport)
        await page.evaluate(
            """() => {
              const fetched = window.fetch;
              window.fetch = (url, ...rest) =>
                String(url).includes("/state/token")
                  ? Promise.resolve(new Response("", { status: 401 }))
                  : fetched(url, ...rest);
            }"""
        )
        await until(page, "client.status.state === 'closed'")  # when the token is to be replaced
        assert (await page.evaluate("() => client.status"))["code"] == "stopped"
