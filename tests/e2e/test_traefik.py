"""Two gateways behind a real Traefik: WebSockets, event streams, silence, a drain, clients' addresses.

Traefik needs no setting for any of it, as deploy/helm/clarion/controllers/traefik.yaml says. It asks
for the health path as Kubernetes asks for readiness, so that it knows which pods take clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.e2e.ports import free_port
from tests.e2e.stack import Stack, make_stack
from tests.e2e.test_lost_node import SECONDS, Heard, follow, listening, until
from tests.valkey import Valkey

TRAEFIK = shutil.which("traefik")
PINGS = 4
OFFICE = {"X-Forwarded-For": "192.0.2.7"}

pytestmark = pytest.mark.skipif(TRAEFIK is None, reason="traefik is not here")

_ROUTES = {
    "http": {
        "routers": {"all": {"rule": "PathPrefix(`/`)", "service": "gateways"}},
        "services": {"gateways": {"loadBalancer": {"healthCheck": {"path": "/health", "interval": "1s"}}}},
    }
}  # fmt: skip


@dataclass
class Site:
    """Traefik, in front of the stack's gateways."""

    port: int
    stack: Stack

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def websocket(self, **headers: str) -> connect:
        return connect(
            f"ws://127.0.0.1:{self.port}/ws", additional_headers=headers, proxy=None,
            open_timeout=SECONDS,
        )  # fmt: skip


@contextlib.asynccontextmanager
async def running(folder: Path, stack: Stack, *options: str) -> AsyncIterator[Site]:
    """Traefik, until the context ends."""
    routes = json.loads(json.dumps(_ROUTES))
    servers = [{"url": gateway.url} for gateway in stack.gateways]
    routes["http"]["services"]["gateways"]["loadBalancer"]["servers"] = servers
    (folder / "routes.yaml").write_text(json.dumps(routes))
    port = free_port()
    assert TRAEFIK is not None
    process = await asyncio.create_subprocess_exec(
        TRAEFIK,
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
        f"--entryPoints.web.address=127.0.0.1:{port}",
        f"--providers.file.filename={folder}/routes.yaml",
        *options,
    )
    try:
        await listening(port)
        async with httpx.AsyncClient(trust_env=False) as client:

            async def routes_are_there() -> bool:
                return (await client.get(f"http://127.0.0.1:{port}/health")).is_success

            await until(routes_are_there)
        yield Site(port, stack)
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
def stack(shared_valkey: Valkey, tmp_path: Path, namespace: str) -> Stack:
    return make_stack(
        tmp_path, shared_valkey.url, namespace,
        GATEWAY_PING_INTERVAL_SECONDS="1",
        GATEWAY_DRAIN_SPREAD_SECONDS="0.2",
        GATEWAY_ADDRESS_HANDSHAKES_PER_SECOND="0.001",
        GATEWAY_ADDRESS_HANDSHAKE_BURST="1",
    )  # fmt: skip


@pytest.fixture
async def site(stack: Stack, tmp_path: Path) -> AsyncIterator[Site]:
    with stack.running():
        async with running(tmp_path, stack) as site:
            yield site


async def message(client: ClientConnection, kind: str) -> dict[str, object]:
    async with asyncio.timeout(SECONDS):
        while (found := json.loads(await client.recv()))["kind"] != kind:
            pass
    return dict(found)


async def test_websockets_stay_through_silence_and_hear_events(site: Site) -> None:
    async with site.websocket() as client:
        await message(client, "welcome")
        for _ in range(PINGS):
            await message(client, "ping")
        await site.stack.publish("all", "after.silence")
        assert (await message(client, "event"))["type"] == "after.silence"


async def test_event_streams_stay_through_silence_and_hear_events(site: Site) -> None:
    async with (
        httpx.AsyncClient(trust_env=False, timeout=SECONDS) as http,
        http.stream("GET", f"{site.url}/sse") as response,
    ):
        pings = 0
        async for line in response.aiter_lines():
            pings += line == "event: $ping"
            if pings == PINGS and line == "event: $ping":
                await site.stack.publish("all", "after.silence")
            if line == "event: after.silence":
                break
        else:
            pytest.fail("the stream ended")


async def test_a_drain_loses_nothing(site: Site) -> None:
    heard = Heard()
    following = asyncio.create_task(follow(site.url, heard))
    try:
        await until(lambda: len(heard.pods) == 1)
        numbers = {service.program.name: service for service in site.stack.gateways}
        drained = numbers[heard.pods[0]]
        await site.stack.publish("all", "before")
        drained.terminate()
        await site.stack.publish("all", "meanwhile")
        await until(lambda: len(heard.pods) == 2)
        await site.stack.publish("all", "after")
        await until(lambda: "after" in heard.types)
        assert drained.wait() == 0
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert heard.pods[0] != heard.pods[1]
    assert heard.types == ["before", "meanwhile", "after"]


async def statuses(site: Site, count: int) -> list[int]:
    """The answers to handshakes of a client that says where it is."""
    found = []
    for _ in range(count):
        try:
            async with site.websocket(**OFFICE):
                found.append(101)
        except InvalidStatus as refused:
            found.append(refused.response.status_code)
    return found


async def test_traefik_says_where_a_client_is(stack: Stack, tmp_path: Path) -> None:
    trusting = "--entryPoints.web.forwardedHeaders.trustedIPs=127.0.0.1"
    with stack.running():
        async with running(tmp_path, stack) as site:
            assert await statuses(site, 5) == [101] * 5, "the client made it up"
        async with running(tmp_path, stack, trusting) as site:
            assert sorted(await statuses(site, 5)) == [101, 101, 429, 429, 429], "one for each pod"
