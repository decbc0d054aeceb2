"""One connection that hears the bus, and its first messages.

`clarion_gateway.bus.subscription` has one at a time. Messages that arrive before the pod has
caught up are kept for later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from clarion_contract.redis.subscriber import Message, Subscribed


class SubscriberConnection(Protocol):
    """A connection that hears the bus: `clarion_contract.redis.subscriber.Subscriber`, or
    `clarion_contract.redis.cluster_subscriber.ClusterSubscriber`.
    """

    async def connect(self) -> None:
        """Open the connection."""
        ...

    def probe_streams(self, pod: str) -> list[str]:
        """The streams of a pod's probes; one event on each shows that the connection works."""
        ...

    async def subscribe(self, streams: Iterable[str]) -> None:
        """Ask Redis for streams; confirmations come by `receive`."""
        ...

    async def unsubscribe(self, streams: Iterable[str]) -> None:
        """Give streams up."""
        ...

    async def receive(self) -> Message | Subscribed:
        """Wait for the next message or confirmation."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


async def come_back(subscriber: SubscriberConnection, probe: Mapping[str, int]) -> list[Message]:
    """The messages that come in until a probe has, on each of its streams."""
    early: list[Message] = []
    missing = {(stream, b"%d" % id_) for stream, id_ in probe.items()}
    while missing:
        item = await subscriber.receive()
        if isinstance(item, Message):
            missing.discard((item.stream, item.payload.partition(b" ")[0]))
            early.append(item)
    return early


async def subscribed(subscriber: SubscriberConnection, names: Collection[str]) -> list[Message]:
    """Subscribe, and return the messages that came in before Redis had confirmed every stream."""
    await subscriber.subscribe(names)
    early: list[Message] = []
    missing = set(names)
    while missing:
        item = await subscriber.receive()
        if isinstance(item, Subscribed):
            missing.discard(item.stream)
        else:
            early.append(item)
    return early
