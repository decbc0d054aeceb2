"""The ways of events into Redis, one per server under test: always one pipelined PUBLISH per event.

The peers' events go out by redis-py; Clarion's go through its own bus with its script. Both run in
the benchmark's process, which shares a core with Redis and the load client, not with the server.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec
import redis

EVENT_TYPE = "order.updated"
CHANNEL = "bench"


class Publisher(Protocol):
    """Puts events on a server's channel."""

    def publish(self, payloads: Sequence[bytes]) -> None:
        """Publish events, each the JSON of its data, in order; return when Redis has them."""

    def close(self) -> None:
        """Close the connection to Redis."""


class PlainPublisher:
    """Publishes the data unchanged on one plain channel, for peers that broadcast what they get."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(redis_url)
        self._channel = CHANNEL

    def publish(self, payloads: Sequence[bytes]) -> None:
        """Publish events in one round trip."""
        if len(payloads) == 1:
            self._redis.publish(self._channel, self.encode(payloads[0]))
            return
        with self._redis.pipeline(transaction=False) as pipeline:
            for payload in payloads:
                pipeline.publish(self._channel, self.encode(payload))
            pipeline.execute()

    def encode(self, payload: bytes) -> bytes:
        """Return the message for an event's data."""
        return payload

    def close(self) -> None:
        """Close the connection to Redis."""
        self._redis.close()


class SocketIoPublisher(PlainPublisher):
    """Publishes like @socket.io/redis-emitter, so that the adapter takes events as another pod's.

    The message is the msgpack of `[uid, packet, options]`, on the channel `<key>#<namespace>#`;
    packet type 2 is EVENT (socket.io-protocol v5).
    """

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url)
        self._channel = f"{CHANNEL}#/#"

    def encode(self, payload: bytes) -> bytes:
        """Return the emitter's message for an event's data."""
        packet = {"type": 2, "data": [EVENT_TYPE, msgspec.json.decode(payload)], "nsp": "/"}
        options: dict[str, list[str] | dict[str, bool]] = {"rooms": [], "except": [], "flags": {}}
        return msgspec.msgpack.encode(["emitter", packet, options])
