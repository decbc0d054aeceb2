"""Peers get their events in the formats of production."""

from __future__ import annotations

import contextlib

import msgspec
import redis

from clarion_bench import payload
from clarion_bench.publishers import CHANNEL, PlainPublisher, SocketIoPublisher


def received(redis_url: str, channel: str, publisher: PlainPublisher, count: int) -> list[bytes]:
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as pubsub:
        pubsub.subscribe(channel)
        assert pubsub.get_message(timeout=5)
        with contextlib.closing(publisher):
            publisher.publish([payload.encode(sequence, 0) for sequence in range(count)])
        messages = [pubsub.get_message(timeout=5) for _ in range(count)]
        return [message["data"] for message in messages if message]


def test_plain_messages_are_the_data_in_order(redis_url: str) -> None:
    messages = received(redis_url, CHANNEL, PlainPublisher(redis_url), 3)
    assert messages == [payload.encode(sequence, 0) for sequence in range(3)]


def test_socket_io_messages_are_the_emitters(redis_url: str) -> None:
    """`[uid, packet, options]` in msgpack, on the channel of the default namespace."""
    (message,) = received(redis_url, f"{CHANNEL}#/#", SocketIoPublisher(redis_url), 1)
    uid, packet, options = msgspec.msgpack.decode(message)
    assert uid == "emitter"
    assert packet["type"] == 2
    assert packet["nsp"] == "/"
    assert packet["data"] == ["order.updated", msgspec.json.decode(payload.encode(0, 0))]
    assert options == {"rooms": [], "except": [], "flags": {}}
