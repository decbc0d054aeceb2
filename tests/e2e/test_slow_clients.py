"""A thousand clients stop reading: memory stays bounded, and no other client waits for them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from clarion_bench import payload
from clarion_bench.cores import raise_file_limit
from clarion_bench.dialects import CLARION
from tests.e2e.client import Socket, opened
from tests.e2e.stack import Service, Stack, make_stack
from tests.valkey import Valkey

SLOW, OTHERS = 1_000, 20
UNSENT_MAX_BYTES = 65_536
EVENTS, PADDING_BYTES, PAUSE_SECONDS = 150, 8_000, 0.05
PATIENCE_SECONDS = 600


@pytest.fixture
def bounded_stack(shared_valkey: Valkey, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    raise_file_limit()
    made = make_stack(
        tmp_path,
        shared_valkey.url,
        namespace,
        GATEWAY_MAX_UNSENT_BYTES=str(UNSENT_MAX_BYTES),
    )
    with made.running():
        yield made


def stalled(gateway: Service, stack: ExitStack) -> socket.socket:
    """A WebSocket that the client never reads."""
    port = urlsplit(gateway.url).port
    assert port is not None
    sock = stack.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(CLARION.request(port))
    return sock


async def hears_everything(client: Socket) -> None:
    for number in range(EVENTS):
        assert int((await client.receive())["data"]["seq"]) == number


async def metrics(gateway: Service) -> dict[str, float]:
    async with httpx.AsyncClient(trust_env=False) as client:
        page = (await client.get(f"{gateway.internal_url}/metrics")).text
    samples = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


@pytest.mark.timeout(1_500)
async def test_a_thousand_that_stop_reading_are_closed_and_nobody_waits_for_them(
    bounded_stack: Stack,
) -> None:
    gateway = bounded_stack.gateways[0]
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    async with AsyncExitStack() as clients:
        with ExitStack() as sockets:
            others = [await clients.enter_async_context(opened(gateway.url)) for _ in range(OTHERS)]
            for _ in range(SLOW):
                stalled(gateway, sockets)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while sum_of(await metrics(gateway), "clarion_connections{") < SLOW + OTHERS:
                    await asyncio.sleep(0.1)
            before = process.memory_info().rss
            grown = unsent = 0.0
            listening = [asyncio.create_task(hears_everything(other)) for other in others]
            for number in range(EVENTS):
                data = {**json.loads(payload.encode(number)), "padding": "x" * PADDING_BYTES}
                await bounded_stack.publish("all", "large", data)
                if number % 4 == 3:  # from full buffers to the bound it is eight events
                    grown = max(grown, process.memory_info().rss - before)
                    unsent = max(unsent, (await metrics(gateway))["clarion_unsent_bytes"])
                await asyncio.sleep(PAUSE_SECONDS)
            await asyncio.gather(*listening)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await metrics(gateway))["clarion_slow_consumers_total"] < SLOW:
                    await asyncio.sleep(0.1)

    # A round may pass the bound before the socket is closed; and Python keeps some of it.
    assert unsent <= SLOW * 2 * UNSENT_MAX_BYTES
    assert grown < SLOW * 3 * UNSENT_MAX_BYTES


def sum_of(samples: dict[str, float], prefix: str) -> float:
    return sum(value for name, value in samples.items() if name.startswith(prefix))
