"""`@clarion/client/react` with the real React in StrictMode, in a browser, over a real gateway."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from tests.browser import CHROMIUM, FLAGS, needs_chromium
from tests.clients.js.conftest import run
from tests.clients.js.web import served
from tests.e2e.stack import Stack

pytestmark = needs_chromium

PAGE = Path(__file__).parent / "pages" / "react.jsx"


@pytest.fixture(scope="module")
def folder(package: Path, application: Path) -> Path:
    """The page, bundled as an application in development would."""
    shutil.copy(PAGE, application)
    out = application / "react-page"
    run(
        str(package / "node_modules" / ".bin" / "esbuild"),
        PAGE.name,
        "--bundle",
        "--jsx=automatic",
        '--define:process.env.NODE_ENV="development"',
        f"--outfile={out / 'page.js'}",
        cwd=application,
    )
    return out


@pytest_asyncio.fixture(params=["websocket", "sse"])
async def page(stack: Stack, folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """The page of alice, whose client is open."""
    given = {
        "url": stack.gateways[0].url,
        "token": stack.token("alice", subscribe=["order.*", "room.*"]),
        "transport": request.param,
    }
    script = f"<script>window.given = {json.dumps(given)}</script>"
    (folder / "page.html").write_text(f"{script}<div id=root></div><script src=page.js></script>")
    with served(folder) as origin:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = await browser.new_page()
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
            await page.goto(f"{origin}/page.html")
            await shows(page, "#status", "alice order.1")
            yield page
            await browser.close()
    # React reports misuse of hooks there. A page without an icon is no error of ours.
    assert [error for error in errors if "404" not in error] == []


async def shows(page: Page, selector: str, text: str) -> None:
    await expect(page.locator(selector)).to_have_text(text)


async def test_every_event_reaches_the_handler_of_the_last_render_once(
    stack: Stack, page: Page
) -> None:
    for number in range(3):
        await stack.publish("all", "tick", number)
        await shows(page, "#renders", str(number + 1))
    assert await page.evaluate("atRender") == [0, 1, 2]
    for number in range(3, 20):
        await stack.publish("all", "tick", number)
    await shows(page, "#renders", "20")
    assert await page.evaluate("heard") == list(range(20))


async def test_a_topics_state_is_loaded_and_kept_up_to_date(stack: Stack, page: Page) -> None:
    await shows(page, "#order", "order.1")
    for number in range(5):
        await stack.publish({"topic": "order.1"}, "tick", number)
    for selector in ("#order", "#same"):
        await shows(page, selector, "order.1 0 1 2 3 4")
    reasons = {reason for _, _, reason in await page.evaluate("loads")}
    assert reasons == {"first"}


async def test_another_topic_begins_anew_and_the_old_one_ends(stack: Stack, page: Page) -> None:
    await stack.publish({"topic": "order.1"}, "tick", "old")
    await shows(page, "#order", "order.1 old")
    await page.evaluate("open('order.2')")
    await shows(page, "#order", "order.2")
    await shows(page, "#status", "alice order.2")
    await stack.publish({"topic": "order.1"}, "tick", "unwanted")
    await stack.publish({"topic": "order.2"}, "tick", "new")
    await shows(page, "#order", "order.2 new")
    await page.evaluate("leave()")
    await expect(page.locator("#same")).to_have_count(0)
    await stack.publish({"topic": "order.2"}, "tick", "still")
    await shows(page, "#order", "order.2 new still")
    await shows(page, "#status", "alice order.2")


async def test_a_topics_state_says_who_receives_it(page: Page) -> None:
    await expect(page.locator("#order")).not_to_have_attribute("data-members", "alice")
    await page.evaluate("open('room.1')")
    order = page.locator("#order")
    await expect(order).to_have_attribute("data-members", "alice")


async def test_a_forbidden_topic_is_an_error(page: Page) -> None:
    await page.evaluate("open('secret.1')")
    await expect(page.locator("#order")).to_contain_text("does not allow")
