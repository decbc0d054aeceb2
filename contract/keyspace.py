"""Names of everything Clarion keeps in Redis.

The stream stands in a hash tag, so that all keys of one stream share a cluster slot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CONTROL_STREAM: Final = "control"
"""The stream on which all gateways get orders; it belongs to no audience."""

_POD_PREFIX: Final = "pod:"


def pod_stream(pod: str) -> str:
    """The stream on which a pod sends probes to itself; it belongs to no audience."""
    return _POD_PREFIX + pod


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Keys and channels under one namespace, so that several Clarions can share a Redis."""

    namespace: str

    def channel(self, stream: str) -> str:
        """The pub/sub channel of a stream."""
        return f"{self.namespace}:{{{stream}}}"

    def stream(self, channel: str) -> str:
        """The inverse of `channel`."""
        return channel[len(self.namespace) + 2 : -1]

    def log(self, stream: str) -> str:
        """The Redis stream that holds a stream's recent events."""
        return f"{self.namespace}:{{{stream}}}:log"

    def meta(self, stream: str) -> str:
        """The hash with a stream's newest id."""
        return f"{self.namespace}:{{{stream}}}:meta"

    def key(self, stream: str, key: str) -> str:
        """The memory of one idempotency key."""
        return f"{self.namespace}:{{{stream}}}:key:{key}"

    @property
    def orders(self) -> str:
        """The sorted set of orders to all gateways, by their end."""
        return f"{self.namespace}:{{{CONTROL_STREAM}}}:orders"

    def presence(self, stream: str) -> str:
        """The hash with the pods that hold connections of a user, by his stream."""
        return f"{self.namespace}:{{{stream}}}:presence"

    @property
    def pods(self) -> str:
        """The hash of the gateway pods that are there."""
        return f"{self.namespace}:{{pods}}:alive"

    @property
    def clock(self) -> str:
        """The hash with the last id issued and the epoch of the data set."""
        return f"{self.namespace}:clock"
