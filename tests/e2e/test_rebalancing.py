"""Rebalancing: a gateway is added, and clients move to it without losing anything."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from clarion_bench import payload
from clarion_bench.cores import raise_file_limit
from clarion_bench.returning import ClarionPolicy, Client, Returning
from tests.e2e.stack import Service, Stack, make_stack
from tests.valkey import Valkey

CLIENTS = 400
SECONDS = 60
PUBLISH_SECONDS = 0.1
QUIET_SECONDS = 3


class Balanced(Returning):
    """A load balancer that sends new connections to one port after the other."""

    def __init__(self, port: int, credentials: Sequence[str]) -> None:
        super().__init__(ClarionPolicy(), port, credentials)
        self.ports = itertools.cycle([port])

    def send(self, client: Client) -> None:
        self.port = next(self.ports)
        super().send(client)


def port_of(service: Service) -> int:
    port = httpx.URL(service.url).port
    assert port is not None
    return port


async def connections_of(stack: Stack) -> dict[str, int]:
    said = await stack.read("/v1/connections")
    return {pod["pod"]: pod["connections"] for pod in said["pods"]}


async def moves(crowd: Balanced) -> int:
    """How many clients reconnect in the next seconds."""
    before = len(crowd.away_seconds)
    await asyncio.sleep(QUIET_SECONDS)
    return len(crowd.away_seconds) - before


@pytest.fixture
def stack_of_one(shared_valkey: Valkey, tmp_path: Path, namespace: str) -> Stack:
    """A stack whose second gateway is not started yet."""
    raise_file_limit()
    return make_stack(
        tmp_path,
        shared_valkey.url,
        namespace,
        GATEWAY_REBALANCE="true",
        GATEWAY_REBALANCE_PER_SECOND="20",
        GATEWAY_HEARTBEAT_SECONDS="1.5",
    )


async def test_clients_move_to_a_gateway_that_is_added_and_lose_nothing(
    stack_of_one: Stack,
) -> None:
    stack = stack_of_one
    first, added = stack.gateways
    stack.gateways = [first]
    users = [f"?token={stack.token(f'user-{number}')}" for number in range(CLIENTS // 2)]
    crowd = Balanced(port_of(first), [*users, *[""] * (CLIENTS // 2)])
    numbers = itertools.count()
    async with AsyncExitStack() as exits:
        exits.enter_context(stack.running())
        exits.push_async_callback(crowd.close)

        async def publish_for_ever() -> None:
            while True:
                await stack.publish("all", "tick", json.loads(payload.encode(next(numbers))))
                await asyncio.sleep(PUBLISH_SECONDS)

        await crowd.connect(SECONDS)
        publishing = asyncio.create_task(publish_for_ever())
        exits.callback(publishing.cancel)
        stack.gateways = [first, added]
        added.start()
        await asyncio.to_thread(added.wait_until_ready)
        crowd.ports = itertools.cycle([port_of(first), port_of(added)])

        async with asyncio.timeout(SECONDS):
            while (await connections_of(stack)).get("gateway-2", 0) < CLIENTS // 3:
                await asyncio.sleep(0.2)
            while await moves(crowd):
                pass
        assert await moves(crowd) == 0, "and nobody moves any more"

        publishing.cancel()
        published = next(numbers)
        await stack.publish("all", "tick", json.loads(payload.encode(published)))
        await crowd.until(
            lambda: all(client.events >= published + 1 for client in crowd.clients), SECONDS
        )
        counts = await connections_of(stack)

    assert len(crowd.away_seconds) > CLIENTS // 3
    assert sum(counts.values()) == CLIENTS
    assert counts["gateway-1"] >= CLIENTS // 2, "never below the mean"
    assert sum(client.lost + client.doubled + client.told for client in crowd.clients) == 0
    assert crowd.refused == 0
