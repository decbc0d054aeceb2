"""Presence on a real Valkey: which users count as connected, and what is forgotten with a pod."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.bus.presence import (
    NO_PODS,
    PodLoad,
    Pods,
    PresenceEntry,
    PresenceRegister,
    pod_of,
)
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.keyspace import Keyspace
from tests.e2e.ports import free_port

LIMITS = HistoryLimits(max_events=10, max_age_seconds=60, key_ttl_seconds=60)
LOAD = PodLoad(anonymous=3, authenticated=2, users=1)
TIMEOUT = 60.0
ENTRY = PresenceEntry(2, 1_000.5)
LEFT = PresenceEntry(0, 0)


@pytest.fixture
def keys(namespace: str) -> Keyspace:
    return Keyspace(namespace)


@pytest.fixture
async def bus(redis_url: str, keys: Keyspace) -> AsyncIterator[Bus]:
    bus = Bus(redis_from_url(redis_url), keys, LIMITS)
    yield bus
    await bus.aclose()


@pytest.fixture
def register(bus: Bus, keys: Keyspace) -> PresenceRegister:
    return PresenceRegister(bus, keys)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.aclose()


async def begin(register: PresenceRegister, pod: str = "a", seconds: float = TIMEOUT) -> str:
    name = (await register.begin(pod, LOAD, timeout_seconds=seconds)).name
    assert name is not None
    return name


async def there(register: PresenceRegister) -> set[str]:
    return set((await register.pods()).loads)


async def test_pods_are_there_with_what_they_say(register: PresenceRegister) -> None:
    a, b = await begin(register, "a"), await begin(register, "b-1.x")
    assert [pod_of(a), pod_of(b)] == ["a", "b-1.x"]
    more = PodLoad(9, 9, 9)
    beaten = await register.beat(a, more, timeout_seconds=TIMEOUT)
    assert beaten.name == a
    last_number = int(b.rpartition(":")[2])
    assert await register.pods() == Pods(None, last_number, {a: more, b: LOAD})


async def test_nobody_is_there_at_first(register: PresenceRegister) -> None:
    assert await register.pods() == NO_PODS
    assert await register.user("alice") == {}


async def test_a_silent_pod_is_gone_and_must_begin_anew(register: PresenceRegister) -> None:
    other = await begin(register, "b")
    silent = await begin(register, "a", 0.5)
    await register.write(silent, [("alice", ENTRY)])
    async with asyncio.timeout(60):
        while await there(register) != {other}:
            await asyncio.sleep(0.05)
    assert await register.user("alice") == {}
    assert (await register.beat(silent, LOAD, timeout_seconds=TIMEOUT)).name is None
    again = await begin(register, "a")
    assert again != silent
    assert await register.user("alice") == {}, "it has not written yet"
    await register.write(again, [("alice", ENTRY)])
    assert await register.user("alice") == {again: ENTRY}


async def test_a_pod_that_starts_again_leaves_nothing_of_its_last_life(
    register: PresenceRegister,
) -> None:
    """The pod was killed and restarted under the same name before its heartbeat was missed."""
    killed, other = await begin(register, "a"), await begin(register, "aa")
    await register.write(killed, [("alice", ENTRY)])
    await register.write(other, [("alice", ENTRY)])
    again = await begin(register, "a")
    assert await there(register) == {again, other}
    assert await register.user("alice") == {other: ENTRY}


async def test_a_pod_that_leaves_is_gone_at_once(register: PresenceRegister) -> None:
    name = await begin(register)
    await register.write(name, [("alice", ENTRY)])
    await register.leave(name)
    assert await there(register) == set()
    assert await register.user("alice") == {}


async def test_a_write_is_answered_with_what_is_elsewhere(register: PresenceRegister) -> None:
    a, b = await begin(register, "a"), await begin(register, "b")
    users = ["alice", "bob", "c{}d\u20ac"]
    assert await register.write(a, [(user, ENTRY) for user in users]) == [{}, {}, {}]
    one = PresenceEntry(1, 2_000.0)
    assert await register.write(b, [("alice", one), ("zoe", one)]) == [{a: ENTRY}, {}]
    assert await register.user("alice") == {a: ENTRY, b: one}
    assert await register.write(a, [("alice", LEFT)]) == [{}]
    assert await register.user("alice") == {b: one}


async def test_stays_of_pods_that_are_gone_are_forgotten(
    register: PresenceRegister, redis: Redis, keys: Keyspace
) -> None:
    a, b = await begin(register, "a"), await begin(register, "b")
    await register.write(a, [("alice", ENTRY)])
    await register.leave(a)
    assert await register.write(b, [("alice", ENTRY)]) == [{a: ENTRY}]
    assert (await register.pods()).is_gone(a)
    await register.forget([("alice", a)])
    await register.forget([])
    assert await redis.hkeys(keys.presence("user:alice")) == [b]


async def test_what_nobody_writes_is_forgotten_in_the_end(
    register: PresenceRegister, redis: Redis, keys: Keyspace
) -> None:
    await register.write(await begin(register), [("alice", ENTRY)])
    assert 0 < await redis.ttl(keys.presence("user:alice")) <= 6 * 3_600
    assert await redis.keys(f"{keys.namespace}:*presence") == [
        f"{keys.namespace}:{{user:alice}}:presence"
    ]


async def test_a_pod_too_new_to_be_known_is_not_gone(register: PresenceRegister) -> None:
    """A pod's last view says nothing about another pod that began after it."""
    await begin(register, "a")
    heard = await register.pods()
    late = await begin(register, "b")
    assert not heard.is_gone(late)
    assert (await register.pods()).is_gone("b:1")


async def test_numbers_go_on_rising_when_redis_comes_up_empty(
    register: PresenceRegister, redis: Redis, keys: Keyspace
) -> None:
    """Entries that a pod writes under its old name must not be taken for those of a new pod."""
    old = await begin(register, "a")
    await redis.delete(keys.pods)
    await begin(register, "b")
    assert (await register.pods()).is_gone(old)


async def test_a_clock_that_was_set_back_makes_everybody_begin_anew(
    register: PresenceRegister, redis: Redis, keys: Keyspace
) -> None:
    """The last heartbeat is in the future, so its real age is unknown."""
    name = await begin(register)
    said = await redis.hget(keys.pods, name)
    assert isinstance(said, str)
    heard, timeout, text = said.split(" ", 2)
    await redis.hset(keys.pods, name, f"{int(heard) + 3_600_000} {timeout} {text}")
    assert (await register.beat(name, LOAD, timeout_seconds=TIMEOUT)).name is None


async def test_a_redis_that_is_away_is_said_to_be(keys: Keyspace) -> None:
    bus = Bus(redis_from_url(f"redis://127.0.0.1:{free_port()}/0"), keys, LIMITS)
    register = PresenceRegister(bus, keys)
    for asked in (register.pods(), register.user("alice"), register.write("a:1", [("b", ENTRY)])):
        with pytest.raises(BusUnavailable):
            await asked
    await bus.aclose()
