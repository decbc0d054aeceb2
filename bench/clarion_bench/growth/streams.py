"""Users' streams in Redis, one event in each: their memory, and the cost of an event to one user.

A gateway holds the sockets of the first users only: as many as it takes, and at most
4,000. The other streams lie in Redis and are in nobody's way, or this curve would show it.
"""

import contextlib
import time

import redis

from clarion_bench import clarion, payload
from clarion_bench.contenders import CONTENDERS, started
from clarion_bench.crowd import Crowd, LoadError
from clarion_bench.growth.costs import Meter
from clarion_bench.growth_points import StreamsPoint
from clarion_bench.laboratory import Laboratory
from clarion_bench.stream import EventStream
from clarion_contract.events.audience import user_audience

_EVENTS_PER_SECOND = 500.0
_SUBSCRIBED = 4_000
_BATCH = 500
_QUIET_SECONDS = 10.0


def streams(count: int, room: int, seconds: float, bench: Laboratory) -> StreamsPoint:
    """Measure an empty Redis and a gateway of its own.

    Args:
        count: users' streams in Redis.
        room: so many sockets the gateway takes.
        seconds: length of the window with events, and of the one without.
    """
    held = min(count, room, _SUBSCRIBED)
    contender = CONTENDERS["clarion"]
    bytes_each = _filled(count, bench.broker.url) / count
    audiences = [user_audience(clarion.user(index)) for index in range(held)]
    with (
        started(contender, bench) as server,
        contextlib.closing(Crowd(server.port, contender.dialect)) as crowd,
        contextlib.closing(clarion.to_each(bench.broker.url, audiences)) as publisher,
    ):
        crowd.open(contender.queries(held))
        stream = EventStream(publisher, crowd, recipients=1)
        meter = Meter([server.process], bench.broker, crowd)
        costs = meter.measure(stream, _EVENTS_PER_SECOND, seconds)
    return StreamsPoint(
        streams=count,
        subscribed=held,
        events_per_second=_EVENTS_PER_SECOND,
        bytes_per_stream=bytes_each,
        gateway_us=costs.gateways_us,
        redis_us=costs.redis_us,
        busy=costs.busy,
    )


def _filled(count: int, url: str) -> int:
    """Empty Redis, publish one event to each user, and return the memory that this takes."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        # The script is loaded and the keys of the namespace are there before memory is read.
        with contextlib.closing(clarion.to_all(url)) as publisher:
            publisher.publish([payload.encode(0)])
        before = _used_bytes(client)
        audiences = [user_audience(clarion.user(index)) for index in range(count)]
        with contextlib.closing(clarion.to_each(url, audiences)) as publisher:
            for first in range(0, count, _BATCH):
                numbers = range(first, min(first + _BATCH, count))
                publisher.publish([payload.encode(number) for number in numbers])
        return _used_bytes(client) - before


def _used_bytes(client: "redis.Redis") -> int:
    """Redis' memory once it has no other client, whose buffers would count as well."""
    deadline = time.monotonic() + _QUIET_SECONDS
    while client.info("clients")["connected_clients"] > 1:
        if time.monotonic() > deadline:
            raise LoadError(f"Redis still has other clients after {_QUIET_SECONDS:g} s")
        time.sleep(0.01)
    return int(client.info("memory")["used_memory"])
