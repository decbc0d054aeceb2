"""Real browsers with one interface: Chromium by Playwright, Firefox by WebDriver BiDi.

Playwright drives only a Firefox that it has patched itself. WebDriver BiDi is what Firefox offers
(https://w3c.github.io/webdriver-bidi/).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.async_api import Page as PlaywrightPage
from playwright.async_api import async_playwright
from websockets.asyncio.client import ClientConnection, connect

from tests.browser import CHROMIUM, FLAGS, MISSING
from tests.integration.pod import SECONDS

FIREFOX = shutil.which("firefox") or shutil.which("firefox-esr")
BROWSERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(missing is not None, reason=missing or ""),
    )
    for name, missing in (
        ("chromium", MISSING),
        ("firefox", None if FIREFOX else "needs Debian's firefox-esr on PATH"),
    )
]
# A browser takes a while where several of them share a core.
_PATIENCE_SECONDS = 4 * SECONDS
_LISTENS = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
# It would look for updates and send reports.
_PREFERENCES = """\
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
"""


class Page(Protocol):
    """A tab."""

    async def evaluate(self, function: str, argument: Any = None) -> Any:
        """Call a function of JavaScript with a value of JSON; returns what it resolves with."""
        ...

    async def goto(self, url: str) -> None:
        """Go to an address."""
        ...


class Browser(Protocol):
    """A browser."""

    async def page(self, url: str) -> Page:
        """Open a tab."""
        ...


async def until(page: Page, condition: str) -> None:
    """Wait until an expression holds in a page."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await page.evaluate(f"() => Boolean({condition})"):
            await asyncio.sleep(0.02)


def running(name: str, folder: Path) -> AbstractAsyncContextManager[Browser]:
    """Run a browser until the context ends.

    Args:
        folder: for its profile.
    """
    return {"chromium": _chromium, "firefox": _firefox}[name](folder)


class ChromiumPage:
    """A tab of Chromium."""

    def __init__(self, page: PlaywrightPage) -> None:
        self.tab = page

    async def evaluate(self, function: str, argument: Any = None) -> Any:
        return await self.tab.evaluate(function, argument)

    async def goto(self, url: str) -> None:
        await self.tab.goto(url)


@asynccontextmanager
async def _chromium(_: Path) -> AsyncIterator[Browser]:
    class Chromium:
        async def page(self, url: str) -> ChromiumPage:
            page = ChromiumPage(await browser.new_page())
            await page.goto(url)
            return page

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield Chromium()
        await browser.close()


class _BiDi:
    """Commands to Firefox, and their answers."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for text in self._socket:
            answer = json.loads(text)
            waiting = self._answers.pop(answer.get("id"), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        id_ = next(self._ids)
        answered = self._answers[id_] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": id_, "method": method, "params": parameters}))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            answer = await answered
        assert answer["type"] == "success", answer
        return dict(answer["result"])


class _FirefoxPage:
    """A tab of Firefox."""

    def __init__(self, bidi: _BiDi, context: str) -> None:
        self._bidi = bidi
        self._context = context

    async def evaluate(self, function: str, argument: Any = None) -> Any:
        call = f"async (given) => JSON.stringify(await ({function})(JSON.parse(given)))"
        answer = await self._bidi.command(
            "script.callFunction",
            functionDeclaration=call,
            arguments=[{"type": "string", "value": json.dumps(argument)}],
            awaitPromise=True,
            target={"context": self._context},
        )
        assert answer["type"] == "success", answer
        value = answer["result"].get("value")  # none: undefined
        return None if value is None else json.loads(value)

    async def goto(self, url: str) -> None:
        await self._bidi.command(
            "browsingContext.navigate", context=self._context, url=url, wait="complete"
        )


@asynccontextmanager
async def _firefox(folder: Path) -> AsyncIterator[Browser]:
    class Firefox:
        async def page(self, url: str) -> _FirefoxPage:
            created = await bidi.command("browsingContext.create", type="tab")
            page = _FirefoxPage(bidi, created["context"])
            await page.goto(url)
            return page

    profile = folder / "firefox"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "user.js").write_text(_PREFERENCES)
    assert FIREFOX is not None
    process = await asyncio.create_subprocess_exec(
        FIREFOX, "--headless", "--no-remote", "--profile", str(profile),
        "--remote-debugging-port", "0", "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        address = await _listening(process)
        drain = asyncio.ensure_future(_drain(process))
        async with connect(f"{address}/session", max_size=None, proxy=None) as socket:
            bidi = _BiDi(socket)
            await bidi.command("session.new", capabilities={})
            yield Firefox()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its children too
        await process.wait()
    await drain


async def _listening(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(_PATIENCE_SECONDS):
        async for line in process.stderr:
            found = _LISTENS.search(line.decode())
            if found:
                return found[1]
    raise AssertionError("Firefox ended before it listened")


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what it goes on to write, so that it never waits for that."""
    assert process.stderr is not None
    while await process.stderr.read(65_536):
        pass
