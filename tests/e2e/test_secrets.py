"""Secrets appear in no log and on no page, whatever fails, even at the lowest log level."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from tests.cli.clarion import SECRET
from tests.e2e.ports import free_port
from tests.e2e.stack import READY_SECONDS, Service, Stack, make_stack
from tests.valkey import Valkey

PASSWORD = "rEdIs-p4ssw0rd"


def tokens(stack: Stack) -> list[str]:
    """Good, expired and altered tokens, and texts that are no token."""
    good = stack.token("dora")
    return [good, stack.token("dora", expires_seconds=-100), good[:-5], f"{good}x", "n0t.a.t0ken"]


async def present(stack: Stack, token: str) -> None:
    """Send a token in every place where one may be, whether or not it is answered."""
    bearer = {"Authorization": f"Bearer {token}"}
    for gateway in stack.gateways:
        socket = gateway.url.replace("http", "ws", 1) + "/ws"
        offered = [Subprotocol("clarion.v1"), Subprotocol(f"clarion.bearer.{token}")]
        for url, options in (
            (socket, {"additional_headers": bearer}),
            (f"{socket}?token={token}", {}),
            (socket, {"subprotocols": offered}),
        ):
            with contextlib.suppress(WebSocketException, OSError, TimeoutError):
                async with asyncio.timeout(2), connect(url, proxy=None, **options) as connection:
                    await connection.recv()
    async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
        for url in (f"{gateway.url}/sse", f"{stack.publisher.url}/v1/events"):
            for method in ("GET", "POST"):
                with contextlib.suppress(httpx.HTTPError):
                    await client.request(method, f"{url}?token={token}", headers=bearer, json={})


def pages(service: Service) -> str:
    """The pages of the internal port."""
    found = [
        httpx.get(service.internal_url + path, trust_env=False).text
        for path in ("/readyz", "/metrics")
    ]
    return "\n".join(found)


def wait_until_it_listens(service: Service) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while "listens" not in service.log.read_text():
        assert time.monotonic() < deadline, service.log.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize("redis", ["away", "refusing"])
async def test_no_secret_is_told_when_redis(
    shared_valkey: Valkey, tmp_path: Path, namespace: str, redis: str
) -> None:
    """The URL that fails holds Redis' password. Meanwhile tokens arrive in every place."""
    port = urlsplit(shared_valkey.url).port if redis == "refusing" else free_port()
    url = f"redis://clarion:{PASSWORD}@127.0.0.1:{port}/0"
    settings = {"CLARION_LOG_LEVEL": "debug", "GATEWAY_HANDSHAKE_SECONDS": "0.1"}
    stack = make_stack(tmp_path, url, namespace, **settings)
    try:
        for service in stack.services:
            service.start()
        for service in stack.services:
            wait_until_it_listens(service)
        presented = tokens(stack)
        for token in presented:
            await present(stack, token)
        event = {"audience": "all", "type": "tick", "data": None}
        bearer = stack.signer.sign("tests", scope="publish:all", expires_seconds=60)
        async with httpx.AsyncClient(trust_env=False) as client:
            refused = await client.post(
                f"{stack.publisher.url}/v1/events",
                json=event,
                headers={"Authorization": f"Bearer {bearer}"},
            )
        assert refused.status_code == (507 if redis == "refusing" else 503), refused.text
        shown = "\n".join(pages(service) for service in stack.services)
        for service in stack.services:
            service.terminate()
        assert [service.wait() for service in stack.services] == [0, 0, 0]
    finally:
        for service in stack.services:
            service.kill()
    logs = "\n".join(service.log.read_text() for service in stack.services)
    assert "bus connection lost" in logs
    assert "bus lost" in logs  # the publisher's: something did fail, and was told
    assert "redis was never reached" in shown
    for secret in (PASSWORD, SECRET, bearer, *presented, *presented[0].split(".")[1:]):
        assert secret not in logs
        assert secret not in shown
