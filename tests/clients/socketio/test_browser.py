"""socket.io-client, unmodified, in a real browser, on a page of another origin than the gateway's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from clarion_contract.events.audience import ALL, Audience
from tests.clients.js.browsers import BROWSERS, Page, running, until
from tests.clients.js.web import served
from tests.clients.socketio.test_node import HANDLERS
from tests.integration.pod import Pod, started, token
from tests.integration.poller import keyed

CHROMIUM = BROWSERS[:1]
TRANSPORTS = {
    "polling then upgrade": ["polling", "websocket"],
    "polling only": ["polling"],
    "websocket only": ["websocket"],
}
PAGE = '<!doctype html><title>page</title><script src="socket.io.min.js"></script>'

# Connects, and keeps what comes in variables of the page.
CONNECT = """
([url, transports, token]) => {
  window.events = [];
  window.disconnects = [];
  window.socket = io(url, { transports, auth: { token }, reconnectionDelay: 50 });
  socket.on("disconnect", (reason) => disconnects.push(reason));
  socket.onAny((name, ...args) => events.push([name, ...args]));
}
"""
ASK = "(message) => new Promise((resolve) => socket.emit(...message, resolve))"
SEND_BYTES = """
() => new Promise((resolve) => socket.emit(
  "photo", new Uint8Array([1, 2]).buffer, new Uint8Array([255]),
  (reply) => resolve([...new Uint8Array(reply.bits)]),
))
"""


@pytest.fixture
def origin(folder: Path, module: str) -> Iterator[str]:
    """A web server with the library as its makers publish it, and a page that loads it."""
    dist = folder / "node_modules" / module / "dist"
    (dist / "page.html").write_text(PAGE)
    with served(dist) as address:
        yield address


@pytest.fixture
async def pod(
    redis_url: str,
    namespace: str,
    origin: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Pod]:
    (tmp_path / "browser_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    handlers = "browser_handlers:handlers"
    async with started(redis_url, namespace, handlers=handlers, allowed_origins=(origin,)) as pod:
        await keyed(pod)
        yield pod


@pytest.fixture
async def page(origin: str, tmp_path: Path, browser: str) -> AsyncIterator[Page]:
    async with running(browser, tmp_path) as program:
        yield await program.page(f"{origin}/page.html")


@pytest.mark.parametrize("browser", CHROMIUM)
@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_a_page_connects_talks_and_comes_back(
    page: Page, pod: Pod, transports: list[str]
) -> None:
    await page.evaluate(CONNECT, [pod.url(""), transports, token("alice")])
    carried = f"socket.connected && socket.io.engine.transport.name === '{transports[-1]}'"
    await until(page, carried)
    (connection,) = pod.gateway.sessions._hub.of_user("alice")
    assert await page.evaluate("() => socket.id") == connection.id

    assert await page.evaluate(ASK, ["echo", {"a": [1, None, "ü"]}]) == {"a": [1, None, "ü"]}
    assert await page.evaluate(SEND_BYTES) == [1, 2, 255]
    await pod.publish(Audience("user", "alice"), "mail", b'{"n":1}')
    await pod.publish(ALL, "end", b"1")
    await until(page, 'events.some(([name]) => name === "end")')
    named = await page.evaluate('() => events.filter(([name]) => name !== "photo")')
    assert named == [["mail", {"n": 1}], ["end", 1]]

    # The network is lost; the library comes back by itself.
    await page.evaluate("() => { events.length = 0; socket.io.engine.close(); }")
    await until(page, "disconnects.length === 1 && socket.connected")
    await pod.publish(ALL, "again")
    await until(page, 'events.some(([name]) => name === "again")')


@pytest.mark.parametrize("browser", CHROMIUM)
@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_a_page_of_a_foreign_origin_gets_no_session(
    page: Page, redis_url: str, namespace: str, transports: list[str]
) -> None:
    allowed = ("https://app.example.com",)
    async with started(redis_url, namespace, allowed_origins=allowed) as pod:
        await page.evaluate(
            """([url, transports]) => {
              window.refusals = 0;
              window.socket = io(url, { transports, reconnectionDelay: 20 });
              socket.on("connect_error", () => refusals++);
            }""",
            [pod.url(""), transports],
        )
        await until(page, "refusals >= 2")  # it comes back, as after any refusal of a request
        assert not await page.evaluate("() => socket.connected")
        assert len(pod.gateway.sessions._hub) == 0
