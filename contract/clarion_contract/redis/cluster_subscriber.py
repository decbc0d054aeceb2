"""The receiving end of the bus on a cluster: one subscription connection to each primary.

For `clarion_gateway.bus.subscription` it looks like one connection. Messages of one node keep their
order. If one connection is lost, or a stream moves to another node, all connections count as lost.
So the pod is never further ahead on one node than on another than a probe shows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Final

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.cluster import RedisCluster
from clarion_contract.redis.keyspace import (
    BUCKET_NAMES,
    SHARED_BUCKET,
    Keyspace,
    bucket_of,
    pod_stream,
    shard_stream,
)
from clarion_contract.redis.subscriber import Message, Subscribed, Subscriber
from clarion_contract.redis.topology import Topology, slot_of
from clarion_contract.redis.url import Host

# Received items that nobody has taken yet. At this number, reading pauses.
_ITEMS_MAX: Final = 1_000


class ClusterSubscriber:
    """All subscription connections of one pod. Not restartable, like `Subscriber`."""

    def __init__(self, redis_url: str, keyspace: Keyspace, cluster: RedisCluster) -> None:
        self._redis_url = redis_url
        self._keys = keyspace
        self._cluster = cluster
        self._homes: Mapping[str, Host] = {}
        self._nodes: dict[Host, Subscriber] = {}
        self._items: asyncio.Queue[Message | Subscribed | BusUnavailable] = asyncio.Queue(
            _ITEMS_MAX
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        """Open the connections.

        Raises:
            BusUnavailable: a primary cannot be reached, or some slots have none.
        """
        topology = await self._cluster.learn(self._cluster.topology)
        self._homes = _homes(topology)
        for host in set(self._homes.values()):
            self._nodes[host] = Subscriber(self._redis_url, self._keys, node=host)
        results = await asyncio.gather(
            *(node.connect() for node in self._nodes.values()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        self._tasks = [asyncio.create_task(self._read(node)) for node in self._nodes.values()]
        self._tasks.append(asyncio.create_task(self._watch(topology)))

    def probe_streams(self, pod: str) -> list[str]:
        """The streams whose events, one on each, show that every connection works."""
        streams = [pod_stream(pod)]
        probed = {self._homes[SHARED_BUCKET]}
        for bucket, host in self._homes.items():
            if host not in probed:
                probed.add(host)
                streams.append(shard_stream(bucket, pod))
        return streams

    async def subscribe(self, streams: Iterable[str]) -> None:
        """As `Subscriber.subscribe`."""
        for node, group in self._by_node(streams):
            await node.subscribe(group)

    async def unsubscribe(self, streams: Iterable[str]) -> None:
        """As `Subscriber.unsubscribe`."""
        for node, group in self._by_node(streams):
            await node.unsubscribe(group)

    async def receive(self) -> Message | Subscribed:
        """The next message or confirmation of any node.

        Raises:
            BusUnavailable: a connection is lost, or a stream has moved.
        """
        item = await self._items.get()
        if isinstance(item, BusUnavailable):
            raise item
        return item

    async def aclose(self) -> None:
        """Drop the connections without waiting for Redis."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for node in self._nodes.values():
            await node.aclose()

    def _by_node(self, streams: Iterable[str]) -> Iterable[tuple[Subscriber, list[str]]]:
        groups: dict[Host, list[str]] = {}
        for stream in streams:
            groups.setdefault(self._homes[bucket_of(stream)], []).append(stream)
        return [(self._nodes[host], group) for host, group in groups.items()]

    async def _read(self, node: Subscriber) -> None:
        try:
            while True:
                await self._items.put(await node.receive())
        except BusUnavailable as error:
            await self._items.put(error)

    async def _watch(self, topology: Topology) -> None:
        """Fail when slots move: a primary that becomes a replica keeps its connections open."""
        with contextlib.suppress(BusUnavailable):
            while _homes(topology) == self._homes:
                topology = await self._cluster.moved_from(topology)
        await self._items.put(BusUnavailable("streams have moved to another node of the cluster"))


def _homes(topology: Topology) -> dict[str, Host]:
    """The primary of each bucket."""
    return {bucket: topology.primary(slot_of(f"{{{bucket}}}")) for bucket in BUCKET_NAMES}
