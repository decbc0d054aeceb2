"""Whatever is cancelled, and whenever: no connection to Redis stays open."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarion_contract.bus.bus import redis_from_url
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.cluster import RedisCluster
from clarion_contract.redis.cluster_subscriber import ClusterSubscriber
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.subscriber import Subscriber
from tests.cancelling import cancelled_at, cancelled_at_each_step, open_connections
from tests.redis_topologies import Cluster, Sentinels, cluster, sentinels
from tests.valkey import Valkey

KEYS = Keyspace("cancelled")
CLUSTER_KEYS = Keyspace("cancelled", clustered=True)


@pytest.fixture(scope="module")
def behind_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with sentinels(tmp_path_factory.mktemp("sentinels"), replicas=1) as topology:
        yield topology


@pytest.fixture(scope="module")
def of_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as topology:
        yield topology


@pytest.fixture(params=["one", "sentinels", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    name = {"one": "valkey", "sentinels": "behind_sentinels", "cluster": "of_cluster"}
    server: Valkey | Sentinels | Cluster = request.getfixturevalue(name[request.param])
    return server.url


async def test_a_command(url: str) -> None:
    async def command() -> None:
        async with contextlib.aclosing(redis_from_url(url)) as server:
            with contextlib.suppress(BusUnavailable):  # a busy machine may be too slow for it
                await server.command("PING")

    await cancelled_at_each_step(command)


async def test_closing(url: str) -> None:
    for step in itertools.count():
        before = open_connections()
        server = redis_from_url(url)
        while not open_connections() - before:
            pings = [server.command("PING") for _ in range(3)]
            await asyncio.gather(*pings, return_exceptions=True)
        was_cancelled = await cancelled_at(step, server.aclose())
        assert not open_connections() - before, f"cancelled at step {step}"
        if not was_cancelled:
            break


async def test_a_subscription(url: str) -> None:
    async def subscribing() -> None:
        server = redis_from_url(url)
        subscriber = (
            ClusterSubscriber(url, CLUSTER_KEYS, server)
            if isinstance(server, RedisCluster)
            else Subscriber(url, KEYS)
        )
        async with contextlib.aclosing(server), contextlib.aclosing(subscriber):
            with contextlib.suppress(BusUnavailable):
                await subscriber.connect()
                await subscriber.subscribe(["all"])
                await subscriber.receive()

    await cancelled_at_each_step(subscribing)


async def test_closing_while_a_node_is_away(tmp_path: Path) -> None:
    """A task waits for it, and has to end first."""
    with cluster(tmp_path) as topology:
        away = topology.primary_of("key")
        topology.replica_of(away).kill()
        away.kill()
        for step in itertools.count():
            before, tasks = open_connections(), asyncio.all_tasks()
            server = redis_from_url(topology.url)
            while not asyncio.all_tasks() - tasks:
                with pytest.raises(BusUnavailable):
                    await server.command("TYPE", "key")
            assert open_connections() - before
            was_cancelled = await cancelled_at(step, server.aclose())
            assert not open_connections() - before, f"cancelled at step {step}"
            if not was_cancelled:
                break
        assert step, "it never waits"
