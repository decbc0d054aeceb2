"""The development page in a real browser, operated like a person would."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from tests.browser import CHROMIUM, FLAGS, needs_chromium
from tests.e2e.stack import Stack, make_stack
from tests.valkey import Valkey

ROOT = Path(__file__).parent.parent.parent

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    needs_chromium,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
def killable(shared_valkey: Valkey, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    made = make_stack(tmp_path, shared_valkey.url, namespace)
    with made.running():
        yield made


class Window:
    """The page, opened at one gateway; any error in it fails the test."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self._keep(message.type, message.text))

    def _keep(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.errors.append(text)

    async def open(self, url: str) -> None:
        await self.page.goto(url)
        await expect(self.page.locator("#state")).to_have_text("live")

    async def panel(self, name: str) -> Locator:
        """Open a tab; returns what it shows."""
        await self.page.get_by_role("tab", name=name).click()
        return self.page.get_by_role("tabpanel", name=name)

    async def choose(self, label: str) -> None:
        panel = await self.panel("Connection")
        await panel.get_by_text(label, exact=True).click()

    async def press(self, name: str) -> None:
        await (await self.panel("Connection")).get_by_role("button", name=name).click()

    async def send(self, type_: str, data: str) -> None:
        panel = await self.panel("Send")
        await panel.get_by_label("Type").fill(type_)
        await panel.get_by_label("Data, JSON").fill(data)
        await panel.get_by_role("button").click()

    async def say(self, text: str) -> None:
        await self.send("chat.message", json.dumps({"text": text}))

    async def publish(self, audience: str, type_: str) -> None:
        panel = await self.panel("Publish")
        await panel.get_by_label("To", exact=True).select_option(audience)
        await panel.get_by_label("Type").fill(type_)
        await panel.get_by_role("button").click()
        await expect(panel.get_by_role("status")).to_contain_text("published")

    async def subscribe(self, topic: str) -> None:
        panel = await self.panel("Topics")
        await panel.get_by_label("Topic to receive").fill(topic)
        await panel.get_by_role("button", name="Subscribe", exact=True).click()

    async def shows(self, *texts: str, count: int = 1) -> None:
        """Exactly this many rows contain all these texts."""
        rows = self.page.locator("#events li")
        for text in texts:
            rows = rows.filter(has_text=text)
        await expect(rows).to_have_count(count)


@pytest_asyncio.fixture(loop_scope="module")
async def windows(browser: Browser, stack: Stack) -> AsyncIterator[tuple[Window, Window]]:
    """One page at each gateway."""
    pair = Window(await browser.new_page()), Window(await browser.new_page())
    for window, gateway in zip(pair, stack.gateways, strict=True):
        await window.open(gateway.url)
    yield pair
    for window in pair:
        await window.page.close()
    assert [window.errors for window in pair] == [[], []]


async def test_a_person_logs_in_chats_and_publishes(windows: tuple[Window, Window]) -> None:
    alice, guest = windows
    await alice.choose("Alice")
    await alice.shows("logged in as alice, same socket")
    await expect(alice.page.locator("#fact-user")).to_have_text("alice")

    await alice.say("Good morning")
    await alice.shows("reply", "chat.message", "Good morning")
    await guest.shows("all", "chat.message", "Good morning")
    await alice.shows("Good morning", count=1)

    await alice.publish("All", "to.all")
    await alice.publish("Authenticated", "to.authenticated")
    await alice.publish("One user", "to.alice")
    await alice.shows("all", "to.all")
    await alice.shows("authenticated", "to.authenticated")
    await alice.shows("to you", "to.alice")
    await expect(alice.page.locator("#fact-latency")).to_have_text(re.compile(r"^\d+ ms$"))

    await alice.choose("Anonymous")
    await alice.shows("logged out, same socket")
    await alice.publish("All", "the.end")
    await guest.shows("the.end")
    await guest.shows("to.all")
    await guest.shows("to.authenticated", count=0)
    await guest.shows("to.alice", count=0)


async def test_a_broken_connection_is_resumed(windows: tuple[Window, Window]) -> None:
    one, other = windows
    await one.press("Disconnect")
    await expect(one.page.locator("#state")).to_have_text("not connected")
    await other.say("said while you were away")
    await other.shows("reply", "said while you were away")
    await one.press("Connect")
    await one.shows("resumed where it broke")
    await one.shows("said while you were away", "caught up")


async def test_server_sent_events_carry_the_same(windows: tuple[Window, Window]) -> None:
    one, other = windows
    await one.choose("Server-sent events")
    await one.shows("resumed where it broke")
    await other.say("over a stream")
    await one.shows("event", "over a stream")
    await one.say("by POST")
    await one.shows("reply", "by POST")
    await other.shows("by POST")


@pytest.fixture(scope="module")
def socketio_client() -> None:
    """The library, as `make run` fetches it."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node 20 or newer and npm on PATH")
    packages = "clients/page/node_modules/.package-lock.json"
    subprocess.run(["make", packages], cwd=ROOT, check=True, timeout=150)
    assert (ROOT / packages).exists()


@pytest.mark.usefixtures("socketio_client")
async def test_it_connects_as_a_client_of_socketio(windows: tuple[Window, Window]) -> None:
    one, other = windows
    await one.choose("Socket.IO")
    await one.shows("connected to a gateway, anonymous")
    await other.say("to Socket.IO")
    await one.shows("event", "to Socket.IO")
    await one.say("from Socket.IO")
    await one.shows("reply", "from Socket.IO")
    await other.shows("from Socket.IO")
    await one.choose("Alice")
    await one.shows("connected to a gateway, alice")
    await one.subscribe("order.42")
    await expect(one.page.locator("#received")).to_contain_text("order.42")
    await other.publish("topic", "order.packed")
    await one.shows("order.packed")
    await one.press("Disconnect")
    await expect(one.page.locator("#state")).to_have_text("not connected")
    await other.say("while it was away")
    await other.shows("reply", "while it was away")
    await one.press("Connect")
    await one.shows("resumed where it broke")
    await one.shows("while it was away")
    await one.send("no.such.type", "{}")
    await expect(one.page.locator("#send-outcome")).to_contain_text("unknown_type")


async def test_mistakes_are_explained_where_they_were_made(
    windows: tuple[Window, Window],
) -> None:
    one, _ = windows
    await one.say("   ")
    await expect(one.page.locator("#send-outcome")).to_contain_text("invalid: data.text")
    await one.send("no.such.type", "null")
    await expect(one.page.locator("#send-outcome")).to_contain_text("unknown_type")
    for name, outcome in (("Publish", "#publish-outcome"), ("Send", "#send-outcome")):
        panel = await one.panel(name)
        await panel.get_by_label("Data, JSON").fill("{")
        await panel.get_by_role("button").click()
        await expect(one.page.locator(outcome)).to_contain_text("JSON")
    await one.subscribe("order.42")
    await expect(one.page.locator("#topics-outcome")).to_contain_text("forbidden")


async def test_a_topic_reaches_those_that_subscribed(windows: tuple[Window, Window]) -> None:
    alice, guest = windows
    await alice.choose("Alice")
    await alice.subscribe("order.42")
    await expect(alice.page.locator("#topics-outcome")).to_have_text("subscribed to order.42")
    await alice.publish("A topic", "order.shipped")
    await alice.shows("order.42", "order.shipped")
    await alice.panel("Topics")
    await alice.page.get_by_role("button", name="Unsubscribe from order.42").click()
    await expect(alice.page.locator("#received li")).to_have_count(0)
    await alice.publish("A topic", "order.returned")
    await alice.publish("All", "the.end")
    for window in windows:
        await window.shows("the.end")
        await window.shows("order.returned", count=0)
    await guest.shows("order.shipped", count=0)
    await alice.choose("Anonymous")


async def test_a_dropped_connection_comes_back(
    browser: Browser, stack: Stack, windows: tuple[Window, Window]
) -> None:
    other, _ = windows
    one = Window(await browser.new_page())
    # The page's clock stands still, so its five seconds do not pass before the other one has spoken.
    now = time.time()
    await one.page.clock.install(time=now)
    await one.page.clock.pause_at(now + 60)
    await one.open(stack.gateways[0].url)
    await one.press("Drop for 5 s")
    await expect(one.page.locator("#state")).to_contain_text("back in")
    await other.say("dropped meanwhile")
    await other.shows("reply", "dropped meanwhile")
    await one.page.clock.resume()
    await one.shows("dropped meanwhile", "caught up")
    await one.page.close()
    assert one.errors == []


async def test_a_gateway_is_killed_from_its_page_while_events_flow(
    browser: Browser, killable: Stack
) -> None:
    gateway = killable.gateways[0]
    window = Window(await browser.new_page())
    await window.open(gateway.url)
    panel = await window.panel("Connection")
    told = window.page.locator("#flow-outcome")
    await panel.get_by_role("button", name="Let events flow").click()
    await expect(told).to_contain_text(re.compile("[1-9][0-9]* came"))
    await panel.get_by_role("button", name="Kill gateway").click()
    await expect(window.page.locator("#kill-outcome")).to_have_text("gateway-1 is killed")
    assert await asyncio.to_thread(gateway.wait) == 137
    gateway.start()
    await asyncio.to_thread(gateway.wait_until_ready)
    resumed = window.page.locator("#events li", has_text="resumed where it broke")
    # The client waits for up to 10 s between two attempts.
    await expect(resumed).to_have_count(1)
    await panel.get_by_role("button", name="Stop the flow").click()
    await expect(told).to_contain_text("none missing, none twice")
    assert not await told.get_by_text("not published").count()
    await window.page.close()


async def test_it_links_to_the_other_gateway_and_to_the_api(
    windows: tuple[Window, Window], stack: Stack
) -> None:
    one, _ = windows
    other = one.page.get_by_role("link", name="The other gateway")
    await expect(other).to_have_attribute("href", stack.gateways[1].url)
    api = one.page.get_by_role("link", name="Publisher's API")
    await expect(api).to_have_attribute("href", f"{stack.publisher.url}/docs")


SIZES = {"laptop": (1280, 800), "phone": (360, 740)}


@pytest.mark.parametrize("size", SIZES)
async def test_an_arriving_event_is_visible_beside_the_form(
    browser: Browser, stack: Stack, size: str
) -> None:
    width, height = SIZES[size]
    page = await browser.new_page(viewport={"width": width, "height": height})
    window = Window(page)
    await window.open(stack.gateways[0].url)
    for name, send in (
        ("Publish", window.publish("All", "to.all")),
        ("Send", window.say("hello")),
    ):
        await send
        newest = page.locator("#events li").first
        await expect(newest).to_contain_text("to.all" if name == "Publish" else "hello")
        await expect(newest).to_be_in_viewport(ratio=1)
        button = (await window.panel(name)).get_by_role("button")
        await expect(button).to_be_in_viewport(ratio=1)
    assert window.errors == []
    await page.close()


# Luminance and contrast as in WCAG 2.2; the colours of a selected choice and of one beside it.
_CONTRASTS = r"""
() => {
  const luminance = (colour) => colour.match(/[\d.]+/g).slice(0, 3)
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const contrast = (...colours) => {
    const [dark, light] = colours.map(luminance).sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const selected = [
    document.querySelector("[role=tab][aria-selected=true]"),
    ...[...document.querySelectorAll(".choice input:checked + span")],
  ];
  return selected.map((element) => {
    const { color, backgroundColor } = getComputedStyle(element);
    const around = getComputedStyle(element.closest(".choice")).backgroundColor;
    return [contrast(color, backgroundColor), contrast(backgroundColor, around)];
  });
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_selected_choice_stands_out(browser: Browser, stack: Stack, scheme: str) -> None:
    """As WCAG 2.2 asks: 4.5 for text, 3 for what tells that a control is selected."""
    page = await browser.new_page(color_scheme="dark" if scheme == "dark" else "light")
    await Window(page).open(stack.gateways[0].url)
    contrasts = await page.evaluate(_CONTRASTS)
    assert len(contrasts) == 3
    for text, state in contrasts:
        assert text >= 4.5
        assert state >= 3
    await page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_overflows_on_a_phone(browser: Browser, stack: Stack, scheme: str) -> None:
    page = await browser.new_page(
        viewport={"width": 360, "height": 740},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    window = Window(page)
    await window.open(stack.gateways[0].url)
    await stack.publish("all", "a.type.that.is.rather.long.for.a.phone", {"text": "x" * 400})
    await window.shows("a.type.that.is.rather.long.for.a.phone")
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    assert window.errors == []
