"""The JavaScript client in real browsers, on a page of another origin than the gateway's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.clients.js.browsers import BROWSERS, Page, running
from tests.integration.pod import started, token

# Resolves with the first status of a client that is open, or closed for a reason.
CONNECTED = """
async ([url, token, transport]) => {
  const { createClient } = await import("/index.js");
  const client = createClient({ url, transport, getToken: () => token });
  return await new Promise((resolve) => client.onStatus((status) => {
    if (status.reason !== "not connected yet" && status.state !== "connecting") resolve(status);
  }));
}
"""


@asynccontextmanager
async def page_at(browser: str, origin: str, folder: Path) -> AsyncIterator[Page]:
    async with running(browser, folder) as program:
        yield await program.page(f"{origin}/page.html")


@pytest.mark.parametrize("browser", BROWSERS)
@pytest.mark.parametrize("transport", ["auto", "sse"])
@pytest.mark.parametrize("user", ["alice", None], ids=["with a token", "anonymous"])
@pytest.mark.parametrize("is_allowed", [True, False], ids=["allowed", "forbidden"])
async def test_a_page_is_let_in_or_told_that_its_origin_is_forbidden(
    redis_url: str,
    namespace: str,
    origin: str,
    tmp_path: Path,
    browser: str,
    transport: str,
    user: str | None,
    is_allowed: bool,
) -> None:
    allowed = (origin if is_allowed else "https://app.example.com",)
    jwt = token(user) if user else None
    async with (
        started(redis_url, namespace, allowed_origins=allowed) as pod,
        page_at(browser, origin, tmp_path) as page,
    ):
        status = await page.evaluate(CONNECTED, [pod.url("/ws"), jwt, transport])
    if is_allowed:
        used = "websocket" if transport == "auto" else transport
        assert (status["state"], status["user"], status["transport"]) == ("open", user, used)
    else:
        assert (status["state"], status["code"]) == ("closed", 403)
        assert "GATEWAY_ALLOWED_ORIGINS" in status["reason"]


@pytest.mark.parametrize("browser", BROWSERS)
async def test_a_page_of_another_origin_is_told_that_its_token_is_refused(
    redis_url: str, namespace: str, origin: str, tmp_path: Path, browser: str
) -> None:
    async with (
        started(redis_url, namespace, allowed_origins=(origin,)) as pod,
        page_at(browser, origin, tmp_path) as page,
    ):
        status = await page.evaluate(CONNECTED, [pod.url("/ws"), "bad", "sse"])
    assert (status["state"], status["code"]) == ("closed", 401)
