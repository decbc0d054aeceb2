"""The slots of a cluster: which slot a key has, and which node holds it. Pure values, no I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.url import Host


def slot_of(key: str) -> int:
    """The slot of a key or a channel, from its hash tag if it has one."""
    return _slot_of(key.partition("{")[2].partition("}")[0] or key)


@lru_cache(maxsize=1_024)
def _slot_of(tag: str) -> int:
    """Cached, because there are few buckets, and every call of a pipeline asks for its slot."""
    slot: int = key_slot(tag.encode())
    return slot


@dataclass(frozen=True, slots=True)
class Topology:
    """The primary of each slot.

    Attributes:
        ranges: first slot, last slot and their primary, in the order of the slots.
    """

    ranges: tuple[tuple[int, int, Host], ...]

    @property
    def primaries(self) -> set[Host]:
        """The nodes that hold slots."""
        return {host for _, _, host in self.ranges}

    def primary(self, slot: int) -> Host:
        """The node that holds a slot.

        Raises:
            BusUnavailable: no node holds it.
        """
        at = bisect_right(self.ranges, (slot, REDIS_CLUSTER_HASH_SLOTS)) - 1
        if at < 0 or self.ranges[at][1] < slot:
            raise BusUnavailable(f"no node of the cluster holds slot {slot}")
        return self.ranges[at][2]


def topology_of(reply: Sequence[Any], asked: Host) -> Topology:
    """Parse CLUSTER SLOTS: ranges of slots, each with its primary and then its replicas."""
    ranges = []
    for first, last, (name, port, *_), *_replicas in reply:
        # A node that does not know its own address leaves it out: it is the node that was asked.
        host = name.decode() if name else asked[0]
        ranges.append((int(first), int(last), (host, int(port))))
    return Topology(tuple(sorted(ranges)))
