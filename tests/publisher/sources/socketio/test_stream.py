"""`clarion_publisher.sources.socketio.stream.Lease`: one reader at a time, and its position."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from clarion_contract.bus.bus import redis_from_url
from clarion_publisher.sources.socketio.message import Emit
from clarion_publisher.sources.socketio.stream import LEASE_SECONDS, Bounds, Lease, Look, Redis
from tests.publisher.sources.socketio.conftest import Names, Producer
from tests.valkey import Valkey


@pytest.fixture
async def server(shared_valkey: Valkey) -> AsyncIterator[Redis]:
    server = redis_from_url(shared_valkey.url)
    yield server
    await server.aclose()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lease(server: Redis, names: Names, clock: Clock | None = None, entries: int = 10) -> Lease:
    bounds = Bounds(entries, 1_000)
    return Lease(server, names.stream, names.namespace, bounds, clock=clock or Clock())


async def look(reader: Lease) -> Look:
    found = await reader.look()
    assert found is not None
    return found


def numbers(found: Look) -> list[int]:
    """The arguments of the events that were found."""
    return [
        int(message.content.arguments[0])
        for message in found.messages
        if isinstance(message.content, Emit)
    ]


def expire(producer: Producer) -> None:
    """Let the lease end, as it does when a reader is killed."""
    names = producer.names
    assert producer.redis.delete(f"{names.namespace}:socketio:{{{names.stream}}}:reader")


async def test_one_of_several_is_the_reader(
    server: Redis, names: Names, producer: Producer
) -> None:
    one, two = lease(server, names), lease(server, names)
    assert await one.keep()
    assert not await two.keep()
    assert await two.look() is None
    assert (one.held, two.held) == (True, False)
    await two.resign()  # of a lease that it does not have
    assert await one.keep()
    await one.resign()
    assert not one.held
    assert await two.keep()


async def test_a_reader_stops_believing_in_its_lease_before_redis_does(
    server: Redis, names: Names
) -> None:
    clock = Clock()
    reader = lease(server, names, clock)
    assert await reader.keep()
    clock.now += LEASE_SECONDS - 0.1
    assert reader.held
    clock.now += 0.1
    assert not reader.held


async def test_entries_come_again_with_the_same_keys_until_they_are_done(
    server: Redis, names: Names, producer: Producer
) -> None:
    one, two = lease(server, names), lease(server, names)
    await look(one)
    for number in range(4):
        producer.broadcast("tick", number)
    first = await look(one)
    assert numbers(first) == [0, 1, 2, 3]
    expire(producer)  # killed after it has published, before it has told so
    second = await look(two)
    assert [each.key for each in second.messages] == [each.key for each in first.messages]
    assert len({each.key for each in first.messages}) == 4
    two.done(second)
    producer.broadcast("tick", 4)
    assert numbers(await look(two)) == [4]


async def test_a_reader_that_wakes_up_late_moves_no_position(
    server: Redis, names: Names, producer: Producer
) -> None:
    one, two = lease(server, names), lease(server, names)
    await look(one)
    producer.broadcast("tick", 0)
    late = await look(one)
    expire(producer)
    two.done(await look(two))
    producer.broadcast("tick", 1)
    two.done(await look(two))
    one.done(late)
    assert await one.look() is None
    await two.resign()
    assert numbers(await look(one)) == []


async def test_an_entry_counts_as_read_once_when_two_jobs_tell_that_it_is_done(
    server: Redis, names: Names, producer: Producer
) -> None:
    reader = lease(server, names)
    await look(reader)
    for number in range(5):
        producer.broadcast("tick", number)
    reader.done(await look(reader))
    await asyncio.gather(reader.keep(), look(reader))
    producer.redis.xtrim(names.stream, maxlen=0, approximate=False)
    for number in range(5, 9):
        producer.broadcast("tick", number)
    producer.redis.xtrim(names.stream, maxlen=1, approximate=False)
    found = await look(reader)
    assert (numbers(found), found.lost) == ([8], 3)


async def test_resigning_notes_what_is_done(
    server: Redis, names: Names, producer: Producer
) -> None:
    one, two = lease(server, names), lease(server, names)
    await look(one)
    producer.broadcast("tick", 0)
    one.done(await look(one))
    await one.resign()
    assert numbers(await look(two)) == []


async def test_a_redis_that_came_back_empty_loses_no_new_entry(
    server: Redis, names: Names, producer: Producer
) -> None:
    reader = lease(server, names)
    await look(reader)
    producer.broadcast("tick", 0)
    reader.done(await look(reader))
    await look(reader)
    for key in producer.redis.scan_iter(f"{names.namespace}:socketio:*"):
        producer.redis.delete(key)
    producer.redis.delete(names.stream)
    producer.broadcast("tick", 1)
    found = await look(reader)
    assert (numbers(found), found.lost) == ([1], 0)


async def test_a_look_is_bounded(server: Redis, names: Names, producer: Producer) -> None:
    reader = lease(server, names, entries=2)
    await look(reader)
    for number in range(3):
        producer.broadcast("tick", number)
    producer.broadcast("tick", "x" * 2_000)
    first = await look(reader)
    assert numbers(first) == [0, 1]
    reader.done(first)
    second = await look(reader)
    assert numbers(second) == [2]
    assert [getattr(each.content, "reason", None) for each in second.messages] == [
        None,
        "too_large",
    ]


async def test_the_lag_is_the_age_of_the_first_entry(
    server: Redis, names: Names, producer: Producer
) -> None:
    reader = lease(server, names)
    await look(reader)
    seconds, _ = producer.redis.time()
    producer.redis.xadd(names.stream, {"type": "1"}, id=f"{(seconds - 10) * 1_000}-1")
    old = await look(reader)
    assert 10 <= old.lag_seconds < 1_000
    reader.done(old)
    producer.redis.xadd(names.stream, {"type": "1"}, id=f"{(seconds + 1_000) * 1_000}-1")
    assert (await look(reader)).lag_seconds == 0  # of a clock that is ahead
    assert (await look(reader)).entries == 1
