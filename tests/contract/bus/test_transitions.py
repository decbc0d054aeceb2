"""Transitions on a real Valkey: each user that came or left is found once, whoever looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.bus.transitions import Lead, TransitionRegister
from clarion_contract.redis.keyspace import Keyspace

POD = "a:1"
LONG = 60.0


@pytest.fixture
async def register(redis_url: str, namespace: str) -> AsyncIterator[TransitionRegister]:
    keys = Keyspace(namespace)
    bus = Bus(redis_from_url(redis_url), keys, HistoryLimits(10, 60, 60))
    yield TransitionRegister(bus, keys)
    await bus.aclose()


async def lead(register: TransitionRegister, holder: str = "h", limit: int = 10) -> Lead:
    found = await register.lead(holder, seconds=LONG, limit=limit)
    assert found is not None
    return found


async def settle(register: TransitionRegister, **users: bool) -> None:
    """What a holder does with users that came or left."""
    await register.note(POD, list(users.items()), grace_seconds=0)
    due = set((await lead(register)).users)
    assert due == set(users)
    assert await register.settle("h", list(users.items()))


async def changes(register: TransitionRegister) -> list[tuple[str, bool]]:
    return [(each.user, each.online) for each in await register.waiting(100)]


async def test_a_change_is_logged_once(register: TransitionRegister) -> None:
    before = time.time()
    await settle(register, alice=True, bob=False)
    await settle(register, alice=True)
    await settle(register, alice=False)
    await settle(register, alice=False)
    await settle(register, **{"": True, "a b": True})
    found = await register.waiting(100)
    assert [(each.user, each.online) for each in found[:2]] == [("alice", True), ("alice", False)]
    assert {each.user for each in found[2:]} == {"", "a b"}
    positions = [each.position for each in found]
    assert positions == sorted(set(positions))
    assert all(before - 1 <= each.at <= time.time() + 1 for each in found)
    assert (await lead(register)).waiting == len(found)
    assert len(await register.waiting(1)) == 1
    await register.told(positions[0])
    assert [each.position for each in await register.waiting(100)] == positions[1:]


async def test_positions_rise_also_when_the_clock_was_set_back(
    register: TransitionRegister, redis_url: str, namespace: str
) -> None:
    ahead = round((time.time() + 3_600) * 1e6)
    async with Redis.from_url(redis_url) as redis:
        await redis.set(Keyspace(namespace).transitions("position"), ahead)
    await settle(register, alice=True)
    await settle(register, alice=False)
    assert [each.position for each in await register.waiting(9)] == [ahead + 1, ahead + 2]


async def test_a_user_that_left_is_looked_at_after_the_grace(register: TransitionRegister) -> None:
    await register.note(POD, [("alice", False), ("bob", True)], grace_seconds=LONG)
    assert (await lead(register)).users == ["bob"]
    await register.note(POD, [("alice", True)], grace_seconds=LONG)
    assert set((await lead(register)).users) == {"alice", "bob"}


async def test_one_holder_at_a_time(register: TransitionRegister) -> None:
    await register.note(POD, [("alice", True)], grace_seconds=0)
    assert (await lead(register)).users == ["alice"]
    assert await register.lead("other", seconds=LONG, limit=10) is None
    assert not await register.settle("other", [("alice", True)])
    await register.resign("other")
    assert await register.lead("other", seconds=LONG, limit=10) is None
    await register.resign("h")
    # The first one died over the user: the next one looks again.
    assert (await lead(register, "other")).users == ["alice"]
    assert not await register.settle("h", [("alice", True)])
    assert await register.settle("other", [("alice", True)])
    assert await changes(register) == [("alice", True)]
    assert (await lead(register, "other")).users == []


async def test_the_lease_ends_by_itself(register: TransitionRegister) -> None:
    assert await register.lead("h", seconds=0.05, limit=1) is not None
    while await register.lead("other", seconds=LONG, limit=1) is None:
        await asyncio.sleep(0.01)


async def test_a_change_while_a_user_is_looked_at_is_not_lost(
    register: TransitionRegister,
) -> None:
    await register.note(POD, [("alice", True)], grace_seconds=0)
    assert (await lead(register)).users == ["alice"]
    await register.note(POD, [("alice", False)], grace_seconds=0)
    assert await register.settle("h", [("alice", True)])
    assert (await lead(register)).users == ["alice"]
    assert await register.settle("h", [("alice", False)])
    assert await changes(register) == [("alice", True), ("alice", False)]


async def test_nobody_is_looked_at_while_too_much_waits(register: TransitionRegister) -> None:
    await register.note(POD, [("alice", True), ("bob", True)], grace_seconds=0)
    assert (await lead(register, limit=0)).users == []
    assert len((await lead(register, limit=1)).users) == 1
    assert len((await lead(register, limit=1)).users) == 1
    assert len((await lead(register)).users) == 2


async def test_the_users_of_a_dead_pod_are_looked_at(register: TransitionRegister) -> None:
    users = [(f"u{number}", True) for number in range(1_500)]
    for start in range(0, len(users), 500):
        await register.note(POD, users[start : start + 500], grace_seconds=0)
    await register.note(POD, [("u0", False)], grace_seconds=LONG)
    due = await lead(register, limit=2_000)
    assert len(due.users) == 1_499
    assert due.pods == [POD]
    await register.settle("h", [(user, True) for user in due.users])
    await register.bury(POD, grace_seconds=0)
    due = await lead(register, limit=2_000)
    assert len(due.users) == 1_499
    assert due.pods == []
