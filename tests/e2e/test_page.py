"""The development page in a real browser, operated like a person would."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.e2e.stack import Stack

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs Debian's chromium on PATH (apt-get install chromium)"
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


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

    async def choose(self, label: str) -> None:
        await self.page.get_by_text(label, exact=True).click()

    async def say(self, text: str) -> None:
        await self.page.get_by_label("Message").fill(text)
        await self.page.get_by_role("button", name="Send").click()

    async def publish(self, audience: str, type_: str) -> None:
        await self.choose(audience)
        await self.page.get_by_label("Type").fill(type_)
        await self.page.get_by_role("button", name="Publish").click()
        await expect(self.page.locator("#publish-outcome")).to_contain_text("published")

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
    await one.page.get_by_role("button", name="Disconnect").click()
    await expect(one.page.locator("#state")).to_have_text("not connected")
    await other.say("said while you were away")
    await other.shows("reply", "said while you were away")
    await one.page.get_by_role("button", name="Connect").click()
    await one.shows("resumed where it broke")
    await one.shows("said while you were away", "caught up")


async def test_server_sent_events_carry_the_same(windows: tuple[Window, Window]) -> None:
    one, other = windows
    await one.choose("Server-sent events")
    await one.shows("resumed where it broke")
    await expect(one.page.get_by_role("button", name="Send")).to_be_disabled()
    await other.say("over a stream")
    await one.shows("sse", "over a stream")


async def test_mistakes_are_explained_where_they_were_made(
    windows: tuple[Window, Window],
) -> None:
    one, _ = windows
    await one.say("   ")
    await expect(one.page.locator("#chat-outcome")).to_contain_text("invalid: data.text")
    await one.page.get_by_label("Data, JSON").fill("{")
    await one.page.get_by_role("button", name="Publish").click()
    await expect(one.page.locator("#publish-outcome")).to_contain_text("JSON")


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
