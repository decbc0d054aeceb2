"""A publisher that reads what producers of Socket.IO write, and the means to write it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import msgspec
import pytest
import redis

from clarion_contract.events.audience import Audience
from tests.publisher.service import Service, serving
from tests.redis_topologies import wait_until
from tests.valkey import Valkey

SECONDS = 60.0


def until(condition: Callable[[], Any], what: object = "") -> Any:
    """The condition's first true value."""
    return wait_until(condition, what, SECONDS)


class Names:
    """Names in Redis of one test's own."""

    def __init__(self, namespace: str | None = None) -> None:
        own = uuid.uuid4().hex[:8]
        self.namespace = namespace or f"clarion-{own}"
        self.stream, self.key, self.channel = f"stream-{own}", f"key-{own}", f"channel-{own}"


class Producer:
    """Writes messages byte by byte, as producers do."""

    def __init__(self, client: redis.Redis, names: Names) -> None:
        self.redis = client
        self.names = names

    def add(self, data: object, *, type_: str = "3", nsp: str = "/", uid: str = "emitter") -> str:
        """Add an entry to the stream; returns its id."""
        text = data if isinstance(data, str | bytes) else json.dumps(data)
        fields = {"uid": uid, "nsp": nsp, "type": type_, "data": text}
        return self.redis.xadd(self.names.stream, fields).decode()

    def broadcast(self, *data: object, nsp: str = "/", **options: object) -> str:
        """Add an event to the stream."""
        packet = {"type": 2, "data": data, "nsp": nsp}
        opts = {"rooms": [], "except": [], "flags": {}, **options}
        return self.add({"packet": packet, "opts": opts}, nsp=nsp)

    def emit(self, *data: object, nsp: str = "/", **options: object) -> int:
        """Publish an event on the emitter's channel; returns how many heard it."""
        opts = {"rooms": [], "except": [], "flags": {}, **options}
        packet = {"type": 2, "data": data, "nsp": nsp}
        payload = msgspec.msgpack.encode(["emitter", packet, opts])
        return int(self.redis.publish(f"{self.names.key}#{nsp}#", payload))

    def request(self, nsp: str = "/", **fields: object) -> int:
        """Publish a command on the emitter's channel."""
        return int(self.redis.publish(f"{self.names.key}-request#{nsp}#", json.dumps(fields)))

    def python(self, **fields: object) -> int:
        """Publish a message as python-socketio does."""
        return int(self.redis.publish(self.names.channel, json.dumps(fields)))


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def producer(shared_valkey: Valkey, names: Names) -> Iterator[Producer]:
    with redis.Redis(port=shared_valkey.port) as client:
        yield Producer(client, names)


Serve = Callable[..., AbstractContextManager[Service]]


@pytest.fixture
def serve(shared_valkey: Valkey, names: Names) -> Serve:
    """Run a publisher that reads, with special settings."""
    return partial(
        serving,
        shared_valkey.url,
        namespace=names.namespace,
        socketio_redis_url=shared_valkey.url,
        socketio_stream=names.stream,
        socketio_key=names.key,
        socketio_channel=names.channel,
        socketio_poll_seconds=0.01,
    )


def reads(service: Service, producer: Producer) -> None:
    """Return once the publisher reads the stream and hears the channels."""
    until(lambda: service.metric("clarion_publisher_socketio_reading"))
    position = f"{producer.names.namespace}:socketio:{{{producer.names.stream}}}:position"
    until(lambda: producer.redis.exists(position))
    until(lambda: producer.redis.pubsub_numsub(producer.names.channel)[0][1])
    until(lambda: producer.emit("warm", rooms=["warm-up"]))
    topic = Audience("topic", "warm-up")
    until(lambda: service.published(topic))


@pytest.fixture
def reader(serve: Serve, producer: Producer) -> Iterator[Service]:
    with serve() as service:
        reads(service, producer)
        yield service
