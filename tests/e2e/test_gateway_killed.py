"""SIGKILL to a gateway with two thousand clients, which reconnect to the other gateway.

They get missed events of `all` and `authenticated` from that pod's ring. Redis is read once per
user, for the user's own stream, and not at all for anonymous clients.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio

from clarion_bench import payload
from clarion_bench.cores import raise_file_limit
from clarion_bench.returning import ClarionPolicy, Returning
from tests.e2e.stack import Service, Stack, make_stack
from tests.valkey import Valkey

ANONYMOUS, USERS = 1_500, 500
EVENTS, KILLED_AT = 60, 20
BACK_SECONDS = 100


@pytest.fixture
def quiet_stack(valkey: Valkey, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    raise_file_limit()
    made = make_stack(tmp_path, valkey.url, namespace)
    with made.running():
        yield made


@asynccontextmanager
async def crowd_of(stack: Stack) -> AsyncIterator[Returning]:
    """All clients, connected to the first gateway; each user has one socket."""
    users = [f"?token={stack.token(f'user-{number}')}" for number in range(USERS)]
    crowd = Returning(ClarionPolicy(), _port(stack.gateways[0]), [*users, *[""] * ANONYMOUS])
    try:
        await crowd.connect(BACK_SECONDS)
        yield crowd
    finally:
        await crowd.close()


def _port(service: Service) -> int:
    port = httpx.URL(service.url).port
    assert port is not None
    return port


async def log_reads(valkey: Valkey) -> int:
    """How often a log was read. Nothing else in Clarion uses XRANGE."""
    async with redis.asyncio.Redis(port=valkey.port) as client:
        stats: Any = await client.info("commandstats")
    return int(stats.get("cmdstat_xrange", {"calls": 0})["calls"])


async def metric(service: Service, sample: str) -> float:
    async with httpx.AsyncClient(trust_env=False) as client:
        page = (await client.get(f"{service.internal_url}/metrics")).text
    (value,) = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(sample)]
    return float(value)


async def test_two_thousand_clients_come_back_and_lose_nothing(
    quiet_stack: Stack, valkey: Valkey
) -> None:
    doomed, staying = quiet_stack.gateways
    async with crowd_of(quiet_stack) as crowd:
        reads = await log_reads(valkey)
        for number in range(EVENTS):
            if number == KILLED_AT:
                doomed.kill()
                crowd.port = _port(staying)
            await quiet_stack.publish("all", "tick", json.loads(payload.encode(number)))
        await quiet_stack.publish("authenticated", "news", None)
        for number in range(0, USERS, 10):
            await quiet_stack.publish({"user": f"user-{number}"}, "own", None)
        await crowd.until(lambda: crowd.open == len(crowd.clients), BACK_SECONDS)
        await quiet_stack.publish("all", "tick", json.loads(payload.encode(EVENTS)))
        await crowd.until(
            lambda: all(client.events == EVENTS + 1 for client in crowd.clients), BACK_SECONDS
        )
        reads = await log_reads(valkey) - reads
        sources = 'clarion_resume_sources_total{source="%s"}'
        from_ring, from_redis = [
            await metric(staying, sources % source) for source in ("ring", "redis")
        ]

    assert [sum(c.lost for c in crowd.clients), sum(c.doubled for c in crowd.clients)] == [0, 0]
    assert sum(client.told for client in crowd.clients) == 0
    others = [client.others for client in crowd.clients]
    assert others == [*[2, *[1] * 9] * (USERS // 10), *[0] * ANONYMOUS]
    assert (from_ring, from_redis) == (USERS + ANONYMOUS, 0)
    # Of the user's own stream, history.lua looks for the oldest entry and then for what is newer; and
    # each read looks for the pod's last probe.
    assert USERS <= reads <= 3 * USERS + EVENTS
