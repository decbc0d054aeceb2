"""A failover loses no accepted event if publishes wait for a replica."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.events.audience import ALL
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Publication, Published
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.server import Replication
from tests.integration.pod import SECONDS, eventually
from tests.redis_topologies import Sentinels, sentinels

LIMITS = HistoryLimits(100_000, 600, 600)
PRODUCERS = 8
ACCEPTED = 200


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Sentinels]:
    with sentinels(tmp_path) as topology:
        yield topology


async def published_through_a_failover(
    topology: Sentinels, namespace: str, replication: Replication
) -> tuple[list[bytes], list[bytes]]:
    """Kill the primary under load; return the accepted events and those of the new primary."""
    bus = Bus(redis_from_url(topology.url), Keyspace(namespace), LIMITS, replication)
    accepted: list[bytes] = []
    killed = asyncio.Event()

    async def produce(producer: int) -> None:
        number = 0
        while not killed.is_set():
            data = b"%d" % (number * PRODUCERS + producer)
            try:
                (answer,) = await bus.publish([Publication(ALL, "tick", data, key=data.decode())])
            except BusUnavailable:
                return
            if isinstance(answer, Published):
                accepted.append(data)
            number += 1

    async with asyncio.TaskGroup() as group:
        for producer in range(PRODUCERS):
            group.create_task(produce(producer))
        async with asyncio.timeout(SECONDS):
            while len(accepted) < ACCEPTED:
                await asyncio.sleep(0.01)
        old = topology.primary
        old.kill()
        killed.set()
    await asyncio.to_thread(topology.wait_for_failover, old)
    kept: list[bytes] = []

    async def read() -> bool:
        with contextlib.suppress(BusUnavailable):  # a Sentinel may know of the failover late
            (history,) = await bus.history([(ALL, 0)], limit=1_000_000, broken_too=True)
            kept.extend(event.data for event in history.events)
        return bool(kept)

    await eventually(read, what="the log of the new primary")
    await bus.aclose()
    return accepted, kept


async def test_with_a_replica_waited_for_nothing_accepted_is_lost(
    topology: Sentinels, namespace: str
) -> None:
    """Publishes wait for all replicas, since Sentinels may promote any of them."""
    accepted, kept = await published_through_a_failover(topology, namespace, Replication(2, 1.0))
    assert set(accepted) <= set(kept)
    assert len(kept) == len(set(kept))
