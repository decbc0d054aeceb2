"""Whatever is cancelled, and whenever: no connection to Redis stays open.

One that does is closed by nobody, and holds a descriptor here and a place at the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from clarion_contract.bus.bus import redis_from_url
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.cluster import RedisCluster
from clarion_contract.redis.cluster_subscriber import ClusterSubscriber
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.subscriber import Subscriber
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
            await server.command("PING")

    await cancelled_at_each_step(command)


async def test_closing(url: str) -> None:
    before = connected()
    for step in itertools.count():
        server = redis_from_url(url)
        await asyncio.gather(*(server.command("PING") for _ in range(3)))
        was_cancelled = await cancelled_at(step, server.aclose())
        assert not connected() - before, f"cancelled at step {step}"
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
        before = connected()
        for step in itertools.count():
            server = redis_from_url(topology.url)
            with pytest.raises(BusUnavailable):
                await server.command("TYPE", "key")
            assert connected() - before
            was_cancelled = await cancelled_at(step, server.aclose())
            assert not connected() - before, f"cancelled at step {step}"
            if not was_cancelled:
                break
        assert step, "it never waits"


async def cancelled_at_each_step(job: Callable[[], Coroutine[Any, Any, None]]) -> None:
    before = connected()
    for step in itertools.count():
        was_cancelled = await cancelled_at(step, job())
        assert not connected() - before, f"cancelled at step {step}"
        if not was_cancelled:
            break
    assert step, "it never waits"


async def cancelled_at(step: int, job: Coroutine[Any, Any, None]) -> bool:
    """Run a job, and cancel it when it waits after `step` other waits; False if it ends before."""
    was_cancelled = False

    @types.coroutine
    def stepping() -> Generator[Any, Any, None]:
        nonlocal was_cancelled
        driven = job.__await__()
        task = asyncio.current_task()
        assert task is not None
        step_function: Callable[[], Any] = driven.__next__
        for number in itertools.count():
            try:
                waits_for = step_function()
            except StopIteration:
                return
            if number == step:
                was_cancelled = True
                task.cancel()  # before anything that it has begun can start
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - passed on
                step_function = lambda error=error: driven.throw(error)  # noqa: E731
            else:
                step_function = driven.__next__

    async def whole() -> None:
        await stepping()

    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.create_task(whole())
    return was_cancelled


def connected() -> set[AbstractConnection]:
    """All that are open in this process."""
    return {
        each
        for each in gc.get_objects()
        if isinstance(each, AbstractConnection) and each.is_connected
    }
