"""Many tabs, one connection: real tabs of one browser, over two real gateways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, async_playwright

from tests.browser import CHROMIUM, FLAGS, needs_chromium
from tests.clients.balancer import balanced
from tests.clients.js.conftest import MAX_TOPICS
from tests.e2e.stack import Stack
from tests.integration.pod import SECONDS

pytestmark = needs_chromium

OPENED = """
async ([url, options]) => {
  const { createClient } = await import("/index.js");
  window.heard = [];
  window.refreshes = [];
  const getToken = () => localStorage.getItem("token");
  window.client = createClient({ url, share: true, getToken, storage: sessionStorage, ...options });
  client.onAny(({ data }) => heard.push(data));
  client.onRefresh(({ reason, topic }) => refreshes.push(topic ? [reason, topic] : reason));
}
"""


class Tabs:
    """The tabs of one browser, all at the same page."""

    def __init__(self, context: BrowserContext, origin: str, url: str) -> None:
        self._context = context
        self._origin = origin
        self._url = url

    async def be(self, token: str | None) -> None:
        """Log all tabs that are opened later in."""
        page = await self._page()
        await page.evaluate("token => token && localStorage.setItem('token', token)", token)
        await page.close()

    async def open(self, **options: Any) -> Page:
        """A new tab whose client is open."""
        page = await self._page()
        await self.connect(page, **options)
        return page

    async def connect(self, page: Page, **options: Any) -> None:
        """Make a client in a tab that has none, and wait until it is open."""
        await page.evaluate(OPENED, [self._url, options])
        await self.wait(page, "client.status.state === 'open'")

    async def wait(self, page: Page, condition: str) -> None:
        await page.wait_for_function(condition, timeout=SECONDS * 1_000, polling=20)

    async def wait_for_another_connection(self, page: Page, before: str) -> None:
        """Wait until a tab is open on a connection of another tab that leads."""
        script = "before => ![undefined, before].includes(client.status.connection)"
        await page.wait_for_function(script, arg=before, timeout=SECONDS * 1_000, polling=20)

    async def hears(self, page: Page, last: object) -> list[Any]:
        """Everything that a tab has heard when it hears this."""
        script = "last => heard.includes(last)"
        await page.wait_for_function(script, arg=last, timeout=SECONDS * 1_000, polling=20)
        return list(await page.evaluate("heard"))

    async def _page(self) -> Page:
        page = await self._context.new_page()
        await page.goto(f"{self._origin}/page.html")
        return page


@pytest_asyncio.fixture
async def tabs(stack: Stack, origin: str) -> AsyncIterator[Tabs]:
    ports = [httpx.URL(gateway.url).port for gateway in stack.gateways]
    async with balanced([port for port in ports if port]) as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield Tabs(await browser.new_context(), origin, url)
        await browser.close()


async def connections(stack: Stack) -> int:
    """The connections of both gateways."""
    found = 0.0
    async with httpx.AsyncClient(trust_env=False) as client:
        for gateway in stack.gateways:
            text = (await client.get(f"{gateway.internal_url}/metrics")).text
            lines = [line for line in text.splitlines() if line.startswith("clarion_connections{")]
            found += sum(float(line.rpartition(" ")[2]) for line in lines)
    return int(found)


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await reached():
            await asyncio.sleep(0.02)


async def test_many_tabs_have_one_connection(stack: Stack, tabs: Tabs) -> None:
    pages = [await tabs.open() for _ in range(3)]
    assert await connections(stack) == 1
    for number in range(10):
        await stack.publish("all", "tick", number)
    for page in pages:
        assert await tabs.hears(page, 9) == list(range(10))
        assert await page.evaluate("refreshes") == ["first"]


async def test_every_tab_may_send(tabs: Tabs) -> None:
    pages = [await tabs.open() for _ in range(2)]
    for page in pages:
        reply = await page.evaluate("client.send('chat.message', { text: 'hi' })")
        assert reply["text"] == "hi"
        refused = (
            "client.send('chat.message', { text: '' }).catch(({ name, code }) => [name, code])"
        )
        assert await page.evaluate(refused) == ["RefusalError", "invalid"]


@pytest.mark.parametrize("ending", ["closes", "crashes"])
async def test_the_death_of_the_leading_tab_loses_and_doubles_nothing(
    stack: Stack, tabs: Tabs, ending: str
) -> None:
    pages = [await tabs.open() for _ in range(4)]
    number = 0

    async def publish(events: int) -> None:
        nonlocal number
        for _ in range(events):
            await stack.publish("all", "tick", number)
            number += 1

    for _ in range(2):
        leading = pages.pop(0)  # the oldest has the lock
        publishing = asyncio.create_task(publish(30))
        await tabs.hears(pages[0], number + 5)
        if ending == "closes":
            await leading.close()
        else:
            crashing = asyncio.create_task(leading.goto("chrome://crash"))
            await leading.wait_for_event("crash")
            crashing.cancel()
        await publishing
        for page in pages:
            assert await tabs.hears(page, number - 1) == list(range(number))
    for page in pages:
        assert await page.evaluate("refreshes") == ["first"]
    await until(lambda: _is_one(stack))


async def _is_one(stack: Stack) -> bool:
    return await connections(stack) == 1


async def test_a_gateways_death_under_tabs_loses_and_doubles_nothing(
    stack: Stack, tabs: Tabs
) -> None:
    pages = [await tabs.open() for _ in range(2)]
    number = 0
    for gateway in stack.gateways:
        for _ in range(20):
            await stack.publish("all", "tick", number)
            number += 1
            if number % 20 == 10:
                gateway.kill()
        for page in pages:
            assert await tabs.hears(page, number - 1) == list(range(number))
        gateway.start()
        gateway.wait_until_ready()
    for page in pages:
        assert await page.evaluate("refreshes") == ["first"]


async def test_logging_out_in_one_tab_logs_all_out(stack: Stack, tabs: Tabs) -> None:
    await tabs.be(stack.token("alice"))
    first, second, third = [await tabs.open() for _ in range(3)]
    for page in (first, second, third):
        assert await page.evaluate("client.status.user") == "alice"
    await second.evaluate("client.logout()")
    for page in (first, second, third):
        await tabs.wait(page, "client.status.user === null")
    before = await second.evaluate("client.status.connection")
    await first.close()
    for page in (second, third):
        await tabs.wait_for_another_connection(page, before)
        assert await page.evaluate("client.status.user") is None, "the next tab to lead knows"
    await third.evaluate("client.login()")
    for page in (second, third):
        await tabs.wait(page, "client.status.user === 'alice'")


async def test_each_tab_has_the_topics_that_it_asked_for(stack: Stack, tabs: Tabs) -> None:
    await tabs.be(stack.token("alice", topics=["news"], subscribe=["order.*"]))
    first = await tabs.open(topics=["order.0"])
    second = await tabs.open(topics=["order.1"])
    third = await tabs.open()
    # No tab has it, so the topic is complete from a later id on than the tab's own position.
    own = await third.evaluate("client.status.connection")
    await stack.publish("all", "tick", "unheard", exclude=own)
    await third.evaluate("client.subscribe('order.2')")
    refused = "client.subscribe('room.1').catch(({ code }) => code)"
    assert await third.evaluate(refused) == "forbidden"

    async def publish(turn: int) -> None:
        for number in range(3):
            await stack.publish({"topic": f"order.{number}"}, "tick", f"{turn} order.{number}")
        await stack.publish({"topic": "news"}, "tick", f"{turn} news")

    await publish(1)
    for number, page in enumerate((first, second, third)):
        assert await tabs.hears(page, "1 news") == [f"1 order.{number}", "1 news"]
    await first.close()
    await publish(2)  # perhaps before the next tab leads
    for number, page in ((1, second), (2, third)):
        assert await tabs.hears(page, "2 news") == [
            f"{turn} {name}" for turn in (1, 2) for name in (f"order.{number}", "news")
        ]
    assert await second.evaluate("refreshes") == ["first"]
    assert await third.evaluate("refreshes") == ["first", ["first", "order.2"]]


async def test_a_tab_that_is_reloaded_goes_on(stack: Stack, tabs: Tabs) -> None:
    await tabs.open()
    page = await tabs.open()
    await stack.publish("all", "tick", "before")
    await tabs.hears(page, "before")
    await page.reload()
    await stack.publish("all", "tick", "meanwhile")
    await tabs.connect(page)
    assert await tabs.hears(page, "meanwhile") == ["meanwhile"]
    assert await page.evaluate("refreshes") == []


async def test_the_tab_that_knows_a_question_answers_it(tabs: Tabs) -> None:
    first, second, third = [await tabs.open() for _ in range(3)]
    # Arrow functions: Playwright calls what an expression returns if it is a function.
    await second.evaluate("() => { client.onAsk('confirm', ({ text }) => `yes to ${text}`) }")
    await third.evaluate(
        "() => { window.notes = []; client.onMessage('note', (note) => notes.push(note)) }"
    )
    assert await first.evaluate("client.send('ask.back', 'all')") == "yes to all"
    assert await third.evaluate("notes") == ["all"]


async def test_a_tab_gets_the_past_of_a_topic(stack: Stack, tabs: Tabs) -> None:
    await tabs.be(stack.token("alice", subscribe=["tabs.*"]))
    for number in range(5):
        await stack.publish({"topic": "tabs.past"}, "tick", number)
    _, second = [await tabs.open() for _ in range(2)]
    script = "client.subscribe('tabs.past', { last: 3 })"
    past = await second.evaluate(
        f"{script}.then(({{ events }}) => events.map(({{ data }}) => data))"
    )
    await stack.publish({"topic": "tabs.past"}, "tick", 5)
    assert past == [2, 3, 4]
    assert await tabs.hears(second, 5) == [5]


async def test_each_tab_gets_the_last_values_of_its_topics(stack: Stack, tabs: Tabs) -> None:
    """Tabs that come later, too, and after the leading tab's end."""
    await tabs.be(stack.token("alice", subscribe=["price.*"]))
    for number in range(3):
        await stack.publish({"topic": "price.gold"}, "tick", f"gold {number}")
        await stack.publish({"topic": "price.tin"}, "tick", f"tin {number}")
    leading = await tabs.open(topics=["price.gold"])
    assert await tabs.hears(leading, "gold 2") == ["gold 2"]
    second = await tabs.open()
    await second.evaluate("client.subscribe('price.tin').then(() => {})")
    assert await tabs.hears(second, "tin 2") == ["tin 2"]
    third = await tabs.open(topics=["price.gold", "price.tin"])
    await tabs.hears(third, "gold 2")
    assert sorted(await tabs.hears(third, "tin 2")) == ["gold 2", "tin 2"]
    await stack.publish({"topic": "price.tin"}, "tick", "tin 3")
    await tabs.hears(third, "tin 3")
    await leading.close()
    fourth = await tabs.open(topics=["price.tin"])
    assert await tabs.hears(fourth, "tin 3") == ["tin 3"]
    await stack.publish({"topic": "price.tin"}, "tick", "tin 4")
    for page, before in ((second, ["tin 2", "tin 3"]), (fourth, ["tin 3"])):
        assert await tabs.hears(page, "tin 4") == [*before, "tin 4"]


async def test_each_tab_knows_who_receives_its_topics(stack: Stack, tabs: Tabs) -> None:
    await tabs.be(stack.token("alice", subscribe=["room.*"]))
    members = """
    (topic) => {
      (window.members ??= {})[topic] = null;
      client.onPresence(topic, (now) => { members[topic] = now.members });
    }
    """
    leader, other = [await tabs.open(topics=["room.tabs"]) for _ in range(2)]
    late = await tabs.open(topics=["room.tabs"])
    without = await tabs.open()
    for page in (leader, other, late, without):
        await page.evaluate(members, "room.tabs")
    for page in (leader, other, late):
        await tabs.wait(page, "String(members['room.tabs']) === 'alice'")
    await other.evaluate("client.subscribe('room.more')")
    await other.evaluate(members, "room.more")
    await tabs.wait(other, "String(members['room.more']) === 'alice'")
    before = await other.evaluate("client.status.connection")
    await leader.close()
    for page in (other, late):
        await tabs.wait_for_another_connection(page, before)
        await page.evaluate(members, "room.tabs")
        await tabs.wait(page, "String(members['room.tabs']) === 'alice'")
    assert await without.evaluate("members['room.tabs']") is None


async def test_a_refusal_closes_all_tabs(tabs: Tabs) -> None:
    first, second = [await tabs.open() for _ in range(2)]
    await first.evaluate("localStorage.setItem('token', 'bad')")
    await second.evaluate("client.login().catch(() => {})")
    for page in (first, second):  # a refused token changes nothing on an open connection
        assert await page.evaluate("client.status.state") == "open"
    await first.evaluate("client.close()")
    await tabs.wait(second, "client.status.state === 'closed'")
    assert await second.evaluate("client.status.code") == 4401


async def test_a_leading_tab_that_is_frozen_is_replaced(stack: Stack, tabs: Tabs) -> None:
    """A dialog freezes it, as browsers on phones do with tabs that nobody looks at."""
    leading, other = [await tabs.open() for _ in range(2)]
    async with leading.expect_event("dialog") as shown:
        alert = asyncio.ensure_future(leading.evaluate("alert('still there?')"))
    dialog = await shown.value
    for number in range(5):
        await stack.publish("all", "tick", number)
    assert await tabs.hears(other, 4) == list(range(5))
    await dialog.accept()
    await alert
    await stack.publish("all", "tick", 5)
    for page in (leading, other):
        assert await tabs.hears(page, 5) == list(range(6))
        assert await page.evaluate("refreshes") == ["first"]
    await until(lambda: _is_one(stack))
    before = await leading.evaluate("client.status.connection")
    await other.close()
    await tabs.wait_for_another_connection(leading, before)
    await stack.publish("all", "tick", 6)
    assert await tabs.hears(leading, 6) == list(range(7)), "the lock is granted to it again"


async def test_where_a_page_may_hold_no_locks_each_tab_connects(stack: Stack, tabs: Tabs) -> None:
    """As in a sandboxed frame, and where a browser blocks all cookies."""
    pages = []
    for _ in range(2):
        page = await tabs._page()
        await page.evaluate(
            "() => { navigator.locks.request = () => Promise.reject(new Error('denied')); }"
        )
        await tabs.connect(page)
        pages.append(page)
    assert await connections(stack) == 2
    await stack.publish("all", "tick", 0)
    for page in pages:
        assert await tabs.hears(page, 0) == [0]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_tab_is_told_why_a_topic_is_refused(
    stack: Stack, tabs: Tabs, transport: str
) -> None:
    await tabs.be(stack.token("alice", subscribe=["order.*"]))
    page = await tabs.open(transport=transport)
    codes = "topics => Promise.all(topics.map(t => client.subscribe(t).catch(e => e.code)))"
    refused = await page.evaluate(codes, ["order. 1", "vip", "order.2"])
    assert refused == ["invalid_topic", "forbidden", {"events": []}]
    answers = await page.evaluate(codes, [f"order.{number}" for number in range(10, 40)])
    granted = MAX_TOPICS - 1
    assert answers.count({"events": []}) == granted
    assert answers.count("too_many_topics") == 30 - granted
