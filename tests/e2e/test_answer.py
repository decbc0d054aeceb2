"""The example of growing answers in a browser: reloads, killed gateways, a stop from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from clarion_examples.answer.app import Question, tokens
from tests.browser import CHROMIUM, FLAGS, WAIT_MS, needs_chromium
from tests.cli.clarion import SECRET
from tests.e2e.backend import example
from tests.e2e.stack import Stack

pytestmark = [
    pytest.mark.timeout(600),  # it starts gateways several times, beside a browser
    needs_chromium,
]
QUESTION = Question(text="What is a gateway?", tokens=300)
WHOLE = "".join(tokens(QUESTION))


@pytest.fixture
def address(own_stack: Stack) -> Iterator[str]:
    with example(
        "clarion_examples.answer.app:app",
        CLARION_JWT_SECRET=SECRET,
        GATEWAY_URL=own_stack.gateways[0].url,
        PUBLISHER_URL=own_stack.publisher.url,
    ) as url:
        yield url


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


async def grown(page: Page, characters: int) -> None:
    """Wait until the page shows more than so much, and all of it is right."""
    await page.wait_for_function(
        f"document.getElementById('text').textContent.length > {characters}", timeout=WAIT_MS
    )
    assert WHOLE.startswith(await page.locator("#text").text_content() or "-")


async def test_an_answer_grows_over_reloads_and_killed_gateways(
    own_stack: Stack, browser: Browser, address: str
) -> None:
    page = await browser.new_page()
    await page.goto(address)
    await page.get_by_label("Words").fill("300")
    await page.get_by_role("button", name="Ask").click()
    await grown(page, 50)
    gateway = own_stack.gateways[0]
    for _ in range(2):
        shown = len(await page.locator("#text").text_content() or "")
        before = min(shown, len(WHOLE) - 1)  # on a slow machine it may have ended
        await asyncio.to_thread(gateway.kill)
        await asyncio.to_thread(gateway.start)
        await asyncio.to_thread(gateway.wait_until_ready)
        await grown(page, before)
        await page.reload()
        await grown(page, before)
    other = await browser.new_page()
    await other.goto(page.url)
    for each in (page, other):
        await expect(each.locator("#state")).to_have_text("done")
        assert await each.locator("#text").text_content() == WHOLE
    await other.reload()  # it has ended, and is there all the same
    await expect(other.locator("#text")).to_have_text(WHOLE)


async def test_another_page_stops_it(browser: Browser, address: str) -> None:
    page, other = await browser.new_page(), await browser.new_page()
    await page.goto(address)
    await page.get_by_label("Words").fill("300")
    await page.get_by_role("button", name="Ask").click()
    await grown(page, 20)
    await other.goto(page.url)
    await grown(other, 20)
    await other.get_by_role("button", name="Stop").click()
    for each in (page, other):
        await expect(each.locator("#state")).to_have_text("stopped")
    shown = [await each.locator("#text").text_content() for each in (page, other)]
    assert shown[0] == shown[1] != WHOLE
