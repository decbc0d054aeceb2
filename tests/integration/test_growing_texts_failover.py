"""Growing texts over a failover, on a Redis Cluster and with Sentinels: each page has all of it once.

Nodes and Sentinels are real, and the primary that holds the text is killed while it is written.
Pages come late, come back and reload on both gateways meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from clarion_contract.events.audience import topic_audience
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.texts.writer import TextWriter
from tests.integration.pod import Pod, started, waiting
from tests.integration.sockets import Client, opened
from tests.integration.test_growing_texts import TOPIC, Page, reader_of_the_topic, texts_of
from tests.redis_topologies import Cluster, Sentinels, cluster, sentinels

QUICK = {"probe_interval_seconds": 0.2, "probe_timeout_seconds": 1, "cluster_clock_seconds": 0.3}
# A failover may take long on a busy machine; nobody may take the producer for dead meanwhile.
LEASE_SECONDS = 120
PIECES = [f"{number} " for number in range(300)]
KILLED_AT = 100

Topology = Cluster | Sentinels


@pytest.fixture(params=[cluster, sentinels], ids=["cluster", "sentinel"])
def topology(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Topology]:
    make: Callable[[Path], contextlib.AbstractContextManager[Topology]] = request.param
    with make(tmp_path) as topology:
        yield topology


@pytest.fixture
async def pods(topology: Topology, namespace: str) -> AsyncIterator[list[Pod]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                started(
                    topology.url,
                    namespace,
                    pod=name,
                    text_lease_seconds=LEASE_SECONDS,
                    **QUICK,
                )
            )
            for name in ("pod-one", "pod-two")
        ]


class CarefulPage(Page):
    """A page that drops what it has: on a cluster, a client that resumes may get events again."""

    def apply(self, data: dict[str, Any]) -> None:
        if data["seq"] > self.seqs.get(data["stream"], 0):
            super().apply(data)

    @property
    def has_ended(self) -> bool:
        return self.states.get("a", ("writing", ""))[0] != "writing"


async def kill_primary_of_the_text(topology: Topology, namespace: str) -> None:
    if isinstance(topology, Cluster):
        keys = Keyspace(namespace, clustered=True)
        old = topology.primary_of(keys.log(topic_audience(TOPIC).stream))
    else:
        old = topology.primary
    old.kill()
    await asyncio.to_thread(topology.wait_for_failover, old)
    old.start()  # as a replica, without which nothing could wait for one


async def write(pod: Pod, topology: Topology, namespace: str) -> None:
    """Write the text; a piece counts as written when a replica has it."""
    async with waiting(pod) as careful, asyncio.TaskGroup() as group:
        carry = texts_of(careful).carrier(TOPIC, "answer", "a")
        async with TextWriter(carry, "a", flush_seconds=0.005, lease_seconds=LEASE_SECONDS) as out:
            for number, piece in enumerate(PIECES):
                if number == KILLED_AT:
                    group.create_task(kill_primary_of_the_text(topology, namespace))
                await out.write(piece)
                await asyncio.sleep(0.01)


async def follow(pods: list[Pod], chance: random.Random) -> CarefulPage:
    """A page that loses its gateway and reloads, until the text has ended."""
    page = CarefulPage()
    since: str | None = None
    while not page.has_ended:
        if since is None or chance.random() < 0.2:  # a reload
            page, since = CarefulPage(), None
        where: Mapping[str, Any] = {"last": 1} if since is None else {"since": since}
        try:
            async with opened(chance.choice(pods), **reader_of_the_topic(), **where) as client:
                since = await shown(client, page, chance.uniform(0.1, 1.5))
        except ConnectionClosed as closed:
            # While there is no primary, a gateway may ask its clients to come again. The page
            # reloads, as its position is older than what it shows.
            assert closed.rcvd is not None
            assert closed.rcvd.code == CloseCode.TRY_AGAIN_LATER
            since = None
            await asyncio.sleep(0.1)
    return page


async def shown(client: Client, page: CarefulPage, seconds: float) -> str | None:
    """Show what comes for a while; returns the page's position, or None if it must reload.

    It must if it may have lost something: Sentinels may promote a replica that lacks a probe, and
    then the gateway cannot know that it lacks nothing else.
    """
    position: str = client.welcome["id"]
    if client.welcome["resumed"] is False or client.welcome.get("not_resumed"):
        return None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not page.has_ended:
                message = await client.receive()
                position = message["id"]
                if message["kind"] == "gap":
                    return None
                past = message["events"] if message["kind"] == "subscribed" else [message]
                for event in past:
                    page.apply(event["data"])
    return position


@pytest.mark.timeout(300)
async def test_each_page_has_all_of_a_text_once_over_a_failover(
    topology: Topology, pods: list[Pod], namespace: str
) -> None:
    async with asyncio.timeout(200), asyncio.TaskGroup() as group:
        group.create_task(write(pods[0], topology, namespace))
        pages = [group.create_task(follow(pods, random.Random(seed))) for seed in range(6)]
    for page in pages:
        assert page.result().texts == {"a": "".join(PIECES)}
        assert page.result().states == {"a": ("done", "")}
    for pod in pods:
        assert await pod.metric("clarion_texts_lost_total") == 0
