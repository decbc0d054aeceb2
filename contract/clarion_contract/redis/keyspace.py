"""The names of all keys and channels that Clarion uses in Redis.

On one Redis the hash tag holds the stream, and there is one clock. On a cluster the hash tag holds
a bucket, so that all keys of one script call, the bucket's own clock included, share a slot.
"""

from __future__ import annotations

from binascii import crc32
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from clarion_contract.events.audience import KINDS

CONTROL_STREAM: Final = "control"
"""The stream on which all gateways receive orders; it belongs to no audience."""

POSITION_STREAM: Final = "position"
"""The stream whose events mark positions for producers; nobody listens to it."""

SHARED_BUCKET: Final = "shared"
"""The bucket of every stream without a name: one clock, so that their ids compare."""

# Number of buckets for streams with a name, such as users'. It must never change: it decides
# where a stream lies.
_NAMED_BUCKETS: Final = 256

BUCKET_NAMES: Final = (SHARED_BUCKET, *map(str, range(_NAMED_BUCKETS)))
"""The names of all buckets."""

_POD_PREFIX: Final = "pod:"
_SHARD_PREFIX: Final = "shard:"
_RELAY_PREFIX: Final = "relay:"


def pod_stream(pod: str) -> str:
    """The stream on which a pod sends probes to itself; it belongs to no audience."""
    return _POD_PREFIX + pod


def relay_stream(pod: str) -> str:
    """The stream on which a pod hears the questions of other pods, and their answers."""
    return _RELAY_PREFIX + pod


def shard_stream(bucket: str, pod: str) -> str:
    """The stream on which a pod probes the part of a cluster that holds a bucket."""
    return f"{_SHARD_PREFIX}{bucket}:{pod}"


@lru_cache(maxsize=10_000)
def bucket_of(stream: str) -> str:
    """The bucket that holds a stream in a cluster."""
    kind = KINDS.get(stream.partition(":")[0])
    if kind is not None and kind.naming is not None:
        return str(crc32(stream.encode()) % _NAMED_BUCKETS)
    if stream.startswith(_SHARD_PREFIX):
        return stream.split(":", 2)[1]
    return SHARED_BUCKET


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Keys and channels under one namespace, so that several installations can share a Redis.

    Attributes:
        clustered: whether the keys lie in buckets.
        database: number of the Redis database that holds the keys. Pub/sub knows no databases
            (https://redis.io/docs/latest/develop/pubsub/), so a number other than 0 becomes part
            of the channel names. Two installations on two databases of one server stay apart.
    """

    namespace: str
    clustered: bool = False
    database: int = 0

    def channel(self, stream: str) -> str:
        """The pub/sub channel of a stream."""
        return self._named(self._channels, stream)

    def stream(self, channel: str) -> str:
        """The inverse of `channel`."""
        if self.clustered:
            return channel.partition("}:")[2]
        return channel[len(self._channels) + 2 : -1]

    @property
    def _channels(self) -> str:
        """The prefix of all channel names."""
        return f"{self.namespace}:db{self.database}" if self.database else self.namespace

    def _key(self, stream: str) -> str:
        """The prefix of a stream's keys."""
        return self._named(self.namespace, stream)

    def _named(self, prefix: str, stream: str) -> str:
        if self.clustered:
            return f"{prefix}:{{{bucket_of(stream)}}}:{stream}"
        return f"{prefix}:{{{stream}}}"

    def log(self, stream: str) -> str:
        """The Redis stream that holds a stream's recent events."""
        return f"{self._key(stream)}:log"

    def meta(self, stream: str) -> str:
        """The hash with the id of a stream's newest event."""
        return f"{self._key(stream)}:meta"

    def key(self, stream: str, key: str) -> str:
        """The string that remembers one idempotency key."""
        return f"{self._key(stream)}:key:{key}"

    def text(self, stream: str, name: str) -> str:
        """The string with everything of a growing text; history.lua knows this form."""
        return f"{self._key(stream)}:text:{name}"

    def text_state(self, stream: str, name: str) -> str:
        """The hash with the state of a growing text."""
        return f"{self._key(stream)}:text:{name}:state"

    @property
    def open_texts(self) -> str:
        """The sorted set of growing texts that have not ended, by when to look after them."""
        return f"{self.namespace}:{{texts}}:open"

    def clock(self, stream: str) -> str:
        """The hash with the last id issued and the epoch, for the clock of a stream."""
        if self.clustered:
            return f"{self.namespace}:{{{bucket_of(stream)}}}:clock"
        return f"{self.namespace}:clock"

    @property
    def orders(self) -> str:
        """The sorted set of orders to all gateways, sorted by when they end."""
        return f"{self._key(CONTROL_STREAM)}:orders"

    def presence(self, stream: str) -> str:
        """The hash with the pods that hold connections of a user, named by the user's stream."""
        return f"{self._key(stream)}:presence"

    @property
    def pods(self) -> str:
        """The hash of the gateway pods that are alive."""
        return f"{self.namespace}:{{pods}}:alive"

    def transitions(self, name: str) -> str:
        """A key about users that come online and go offline; all of them share a slot."""
        return f"{self.namespace}:{{transitions}}:{name}"

    @property
    def recovery_key(self) -> str:
        """The string with which gateways sign what clients of Socket.IO recover by."""
        return f"{self.namespace}:{{recovery}}:key"

    def recovery_topics(self, connection: str) -> str:
        """The string with the topics of a connection of Socket.IO, for when its client is back."""
        return f"{self.namespace}:{{recovery:{connection}}}:topics"

    @property
    def publish_command(self) -> str:
        """The command that sends a message to the subscribers of its channel."""
        return "SPUBLISH" if self.clustered else "PUBLISH"

    def lane(self, stream: str) -> str:
        """The lowest bit of the ids on a stream; empty: either bit.

        See `clarion_contract.bus.positions`.
        """
        if not self.clustered:
            return ""
        return "0" if bucket_of(stream) == SHARED_BUCKET else "1"
