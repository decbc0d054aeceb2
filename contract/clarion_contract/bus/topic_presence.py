"""The members of a topic and their pods. Gateways write them to Redis; both services read them.

Redis holds one hash for each topic whose rule asks for presence, with an entry of each pod. As for
users (`clarion_contract.bus.presence`), an entry counts as long as its pod is alive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from clarion_contract.bus.bus import ScriptingBus
from clarion_contract.bus.presence import PRESENCE_SECONDS
from clarion_contract.events.audience import topic_audience
from clarion_contract.events.topic_members import TopicEntry
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.server import Script


class TopicRegister:
    """The presence of topics of one namespace. Every method may raise `BusUnavailable`."""

    def __init__(self, bus: ScriptingBus, keyspace: Keyspace) -> None:
        self._bus = bus
        self._keys = keyspace
        self._script = Script("topic_presence.lua")

    async def write(
        self, name: str, entries: Sequence[tuple[str, TopicEntry | None]]
    ) -> list[dict[str, TopicEntry]]:
        """Store a pod's entries; returns those of all pods, by topic in the same order.

        Args:
            name: of the pod, as `Pods.name`; empty: only read.
            entries: by topic; None: the topic has no member on the pod.
        """
        replies = await self._bus.run(
            self._script,
            [
                (
                    1,
                    self._keys.presence(topic_audience(topic).stream),
                    name,
                    b"" if entry is None else msgspec.json.encode(entry),
                    PRESENCE_SECONDS,
                )
                for topic, entry in entries
            ],
        )
        return [_entries(reply) for reply in replies]

    async def read(self, topics: Sequence[str]) -> list[dict[str, TopicEntry]]:
        """The entries of all pods, by topic in the same order. Some pods may be gone."""
        return await self.write("", [(topic, None) for topic in topics])


def _entries(reply: Sequence[bytes] | Mapping[bytes, bytes]) -> dict[str, TopicEntry]:
    if not isinstance(reply, Mapping):  # RESP3 has a type for maps, RESP2 a list
        reply = dict(zip(reply[::2], reply[1::2], strict=True))
    return {
        pod.decode(): msgspec.json.decode(entry, type=TopicEntry) for pod, entry in reply.items()
    }
