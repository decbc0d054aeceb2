"""A node is lost behind a real nginx: nothing is closed, and clients must find out by themselves.

Each gateway stands behind a TCP proxy that plays its node. When the node is lost, its connections
stay open and fall silent, and new ones are refused. nginx waits for an hour, so only the missing pings
can tell. The clients are our own, and that of docs/protocol.md, taken from the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, async_playwright, expect

from clarion.client import Client, Event, Open, Status
from tests.browser import CHROMIUM, FLAGS, MISSING
from tests.cli.clarion import ROOT
from tests.e2e.ports import free_port
from tests.e2e.stack import Stack, make_stack
from tests.proxy import Proxy, proxied
from tests.valkey import Valkey

NGINX = shutil.which("nginx")
SECONDS = 120

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not here")

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream gateways {{ server 127.0.0.1:{first}; server 127.0.0.1:{second} backup; }}
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  server {{
    listen 127.0.0.1:{port};
    location /client/ {{
      root {folder};
      types {{ text/html html; text/javascript js; }}
    }}
    location / {{
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $http_host;
      proxy_buffering off;
      proxy_read_timeout 3600s;
    }}
  }}
}}
"""


@dataclass
class Site:
    """nginx at ``url``, in front of two nodes. It uses the second one when the first is lost."""

    url: str
    stack: Stack
    nodes: list[Proxy] = field(default_factory=list)


@pytest.fixture
async def site(shared_valkey: Valkey, tmp_path: Path, namespace: str) -> AsyncIterator[Site]:
    stack = make_stack(
        tmp_path, shared_valkey.url, namespace, GATEWAY_PING_INTERVAL_SECONDS="1",
        GATEWAY_DRAIN_SPREAD_SECONDS="0.2",
    )  # fmt: skip
    with stack.running():
        first, second = (int(gateway.url.rpartition(":")[2]) for gateway in stack.gateways)
        async with proxied(first) as one, proxied(second) as other:
            port = free_port()
            file = tmp_path / "nginx.conf"
            file.write_text(
                _CONFIGURATION.format(folder=tmp_path, first=one.port, second=other.port, port=port)
            )
            assert NGINX is not None
            process = await asyncio.create_subprocess_exec(
                NGINX, "-e", "stderr", "-p", str(tmp_path), "-c", str(file)
            )
            try:
                await listening(port)
                yield Site(f"http://127.0.0.1:{port}", stack, [one, other])
            finally:
                process.terminate()
                await process.wait()


async def listening(port: int) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


@dataclass
class Heard:
    """The events that a client has heard so far."""

    pods: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)

    def note(self, status: Status) -> None:
        if isinstance(status, Open):
            self.pods.append(status.pod)


async def until(reached: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not (await result if isinstance(result := reached(), Awaitable) else result):
            await asyncio.sleep(0.02)


def code_of(name: str) -> str:
    """The code block of docs/protocol.md that begins with a comment of this name."""
    page = (ROOT / "docs" / "protocol.md").read_text()
    blocks: list[str] = re.findall(r"```\w+\n(.*?)```", page, re.DOTALL)
    (block,) = (b for b in blocks if re.match(rf"(//|#) {re.escape(name)}\n", b))
    return block


async def follow(url: str, heard: Heard) -> None:
    async with Client(url, on_status=heard.note) as client:
        async for item in client:
            if isinstance(item, Event):
                heard.types.append(item.type)


async def test_a_program_finds_out(site: Site) -> None:
    heard = Heard()
    following = asyncio.create_task(follow(site.url, heard))
    try:
        await until(lambda: len(heard.pods) == 1)
        site.nodes[0].lose()
        await site.stack.publish("all", "while.it.was.deaf")
        await until(lambda: "while.it.was.deaf" in heard.types)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert len(heard.pods) == 2
    assert heard.pods[0] != heard.pods[1]
    assert heard.types == ["while.it.was.deaf"], "neither lost nor doubled"


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    if MISSING:
        pytest.skip(MISSING)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield await browser.new_page()
        await browser.close()


async def connected(site: Site, node: int) -> bool:
    """Whether that gateway holds a connection."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{site.stack.gateways[node].internal_url}/metrics")).text
    return any(
        line.startswith("clarion_connections{") and not line.endswith(" 0.0")
        for line in text.splitlines()
    )


@pytest.mark.parametrize("transport", ["WebSocket", "Server-sent events"])
async def test_the_development_page_finds_out(site: Site, page: Page, transport: str) -> None:
    await page.goto(site.url)
    await page.get_by_role("tab", name="Connection").click()
    await page.get_by_text(transport, exact=True).click()
    await expect(page.locator("#state")).to_have_text("live")
    await until(lambda: connected(site, 0))
    site.nodes[0].lose()
    await site.stack.publish("all", "while.it.was.deaf", {"text": json.dumps("x")})
    rows = page.locator("#events li").filter(has_text="while.it.was.deaf")
    await expect(rows).to_have_count(1)
    assert await connected(site, 1)
