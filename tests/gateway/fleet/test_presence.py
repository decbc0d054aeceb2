"""`clarion_gateway.fleet.presence.Presence`: a pod's users in Redis, and the limit over all pods.

It runs on a real Valkey, which decides the order of connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

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
from clarion_contract.redis import server as redis_server
from clarion_contract.redis.keyspace import Keyspace
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.identity import ANONYMOUS, Identity
from clarion_gateway.fleet import presence as module
from clarion_gateway.fleet.presence import Presence
from tests.gateway.recorder import Recorder, metrics, sample, settings

LIMIT = 3
SECONDS = 30.0
NOW = 1_000.0


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"not within {SECONDS} s"
        await asyncio.sleep(0.01)


class Pod:
    """A hub and its presence, connected as in a gateway."""

    def __init__(self, name: str, register: PresenceRegister, **overrides: object) -> None:
        self.metrics = metrics()
        self.ready = True
        self.hub = Hub()
        self.noted: list[tuple[str, bool]] = []
        self.notes_fail = 0
        options = {"heartbeat_seconds": 60, "max_connections_per_user": LIMIT, **overrides}
        self.presence = Presence(
            register,
            self.hub,
            self.metrics,
            settings(pod=name, **options),
            lambda: self.ready,
            clock=lambda: NOW,
            note=self._note,
        )
        self.hub.changed = self.presence.changed

    async def _note(self, name: str, users: Sequence[tuple[str, bool]]) -> None:
        assert name == self.presence.pods.name
        if self.notes_fail:
            self.notes_fail -= 1
            raise BusUnavailable("not now")
        self.noted += users

    def connect(self, user: str | None = "alice") -> Recorder:
        connection = Socket(self.hub, user)
        self.hub.add(connection)
        return connection


class Socket(Recorder):
    """Leaves the hub when it is closed, as a transport does."""

    __slots__ = ("hub",)

    def __init__(self, hub: Hub, user: str | None) -> None:
        super().__init__(user)
        self.hub = hub

    def close(self, close: close_codes.Close, *, message: bytes = b"") -> None:
        super().close(close, message=message)
        self.hub.remove(self)


Start = Callable[..., AbstractAsyncContextManager[Pod]]


@pytest.fixture
def keys(namespace: str) -> Keyspace:
    return Keyspace(namespace)


@pytest.fixture
async def register(redis_url: str, keys: Keyspace) -> AsyncIterator[PresenceRegister]:
    bus = Bus(redis_from_url(redis_url), keys, HistoryLimits(10, 60, 60))
    yield PresenceRegister(bus, keys)
    await bus.aclose()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def start(register: PresenceRegister) -> Start:
    @contextlib.asynccontextmanager
    async def started(name: str = "a", **overrides: object) -> AsyncIterator[Pod]:
        pod = Pod(name, register, **overrides)
        task = asyncio.create_task(pod.presence.run())
        yield pod
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return started


async def entries_are(register: PresenceRegister, user: str = "alice", **expected: int) -> None:
    """Wait until Redis has this number of connections of the user for each pod."""

    async def known() -> bool:
        entries = await register.user(user)
        return {pod_of(name): entry.connections for name, entry in entries.items()} == expected

    await eventually(known)


async def test_comings_and_goings_are_noted_until_that_has_worked(start: Start) -> None:
    async with start("a") as pod:
        pod.notes_fail = 1

        async def is_noted() -> bool:
            return ("alice", True) in pod.noted

        connection = pod.connect()
        await eventually(is_noted)
        connection.close(close_codes.NORMAL)

        async def has_gone() -> bool:
            return pod.noted[-1] == ("alice", False)

        await eventually(has_gone)


async def test_redis_knows_who_comes_and_goes(register: PresenceRegister, start: Start) -> None:
    async with start("a") as a, start("b") as b:
        first, second = a.connect(), a.connect()
        a.connect(None)
        b.connect()
        b.connect("bob")
        await entries_are(register, a=2, b=1)
        await entries_are(register, "bob", b=1)
        a.hub.remove(first)
        await entries_are(register, a=1, b=1)
        a.hub.remove(second)
        await entries_are(register, b=1)
        assert a.presence.pending == b.presence.pending == 0


async def test_a_log_in_and_a_log_out_count(register: PresenceRegister, start: Start) -> None:
    async with start() as pod:
        connection = pod.connect(None)
        pod.hub.identify(connection, Identity("alice", 2_000.0))
        await entries_are(register, a=1)
        pod.hub.identify(connection, Identity("bob", 2_000.0))
        await entries_are(register, "bob", a=1)
        await entries_are(register)
        pod.hub.identify(connection, ANONYMOUS)
        await entries_are(register, "bob")


async def test_since_when_is_remembered_while_there_is_a_connection(
    register: PresenceRegister, start: Start
) -> None:
    async with start() as pod:
        first = pod.connect()
        await entries_are(register, a=1)
        pod.presence._clock = lambda: NOW + 60
        pod.connect()
        await entries_are(register, a=2)
        pod.hub.remove(first)
        await entries_are(register, a=1)
        (entry,) = (await register.user("alice")).values()
        assert entry == PresenceEntry(1, NOW)


async def test_changes_are_written_together_and_idle_connections_not_at_all(
    start: Start, redis: Redis
) -> None:
    async with start() as pod:
        for n in range(200):
            pod.connect(f"user-{n}")

        async def written() -> bool:
            return sample(pod.metrics, "clarion_presence_writes_total", outcome="written") > 0

        await eventually(written)
        assert pod.presence.pending == 0
        assert sample(pod.metrics, "clarion_presence_writes_total", outcome="written") == 1
        await asyncio.sleep(0.3)
        assert sample(pod.metrics, "clarion_presence_writes_total", outcome="written") == 1


async def test_a_pod_says_what_it_holds(register: PresenceRegister, start: Start) -> None:
    async with start(heartbeat_seconds=1) as pod:
        for user in (None, None, None, "alice", "alice", "bob"):
            pod.connect(user)
        catching_up = Recorder("alice")
        pod.hub.add(catching_up, catching_up=True)

        async def said() -> bool:
            return list((await register.pods()).loads.values()) == [PodLoad(3, 4, 2)]

        await eventually(said)


async def test_a_pod_says_whether_it_is_ready(register: PresenceRegister, start: Start) -> None:
    async with start(heartbeat_seconds=1) as pod:
        pod.ready = False

        async def said() -> bool:
            return [load.ready for load in (await register.pods()).loads.values()] == [False]

        await eventually(said)


async def test_what_was_heard_of_the_others_is_not_believed_for_long(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start(heartbeat_seconds=1) as pod:

        async def known() -> bool:
            return pod.presence.pods.own_load is not None

        await eventually(known)
        monkeypatch.setattr(redis_server, "COMMAND_TIMEOUT_SECONDS", 0.0)

        async def unknown() -> bool:
            return pod.presence.pods == NO_PODS

        await eventually(unknown)


async def test_each_heartbeat_of_a_pod_puts_off_its_end(
    register: PresenceRegister, start: Start, redis: Redis, keys: Keyspace
) -> None:
    async with start(heartbeat_seconds=6) as pod:
        pod.connect()
        await entries_are(register, a=1)
        (name,) = (await register.pods()).loads

        async def last_heard_ms() -> int:
            entry = await redis.hget(keys.pods, name)
            assert entry is not None, "Redis has forgotten the pod"
            return int(entry.split()[0])

        begun_ms = await last_heard_ms()

        async def is_heard_again() -> bool:
            return await last_heard_ms() > begun_ms

        await eventually(is_heard_again)
        await entries_are(register, a=1)


async def test_a_pod_that_was_forgotten_says_everything_again(
    register: PresenceRegister, start: Start, redis: Redis, keys: Keyspace
) -> None:
    """Redis restarted empty, or the pod stood still for too long."""
    async with start("a") as a, start("b") as b:
        for n in range(3):
            a.connect(f"user-{n}")
        b.connect("user-0")
        await entries_are(register, "user-0", a=1, b=1)
        await redis.delete(keys.pods, *[keys.presence(f"user:user-{n}") for n in range(3)])
        assert await register.user("user-0") == {}
        a.presence.renew()
        b.presence.renew()
        await entries_are(register, "user-0", a=1, b=1)
        await entries_are(register, "user-2", a=1)


async def test_what_redis_lost_without_forgetting_the_pod_is_said_again(
    register: PresenceRegister, start: Start, redis: Redis, keys: Keyspace
) -> None:
    """A failover that dropped the last writes."""
    async with start() as pod:
        pod.connect()
        await entries_are(register, a=1)
        (name,) = (await register.pods()).loads
        await redis.delete(keys.presence("user:alice"))
        pod.presence.renew()
        await entries_are(register, a=1)
        assert list((await register.pods()).loads) == [name]


async def test_what_would_be_forgotten_is_written_in_time(
    register: PresenceRegister,
    start: Start,
    redis: Redis,
    keys: Keyspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PRESENCE_SECONDS", 0)
    async with start(heartbeat_seconds=1) as pod:
        pod.connect()
        await entries_are(register, a=1)
        await redis.expire(keys.presence("user:alice"), 100)

        async def written_again() -> bool:
            return bool(await redis.ttl(keys.presence("user:alice")) > 100)

        await eventually(written_again)


async def test_a_pod_that_leaves_leaves_nothing(
    register: PresenceRegister, start: Start, redis: Redis, keys: Keyspace
) -> None:
    async with start() as pod:
        staying, leaving = pod.connect(), pod.connect("bob")
        await entries_are(register, a=1)
        pod.hub.remove(staying)
        await pod.presence.leave()
        assert (await register.pods()).loads == {}
        assert await redis.exists(keys.presence("user:alice")) == 0
        assert await register.user("bob") == {}
        assert leaving.closed_with is None


async def test_writes_that_fail_are_made_up_for(
    register: PresenceRegister,
    start: Start,
    redis: Redis,
    keys: Keyspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.05)
    async with start() as pod:
        gone = pod.connect("bob")
        await entries_are(register, "bob", a=1)
        await redis.set(keys.presence("user:alice"), "of another type: Redis refuses")
        pod.connect()
        pod.hub.remove(gone)

        async def failed() -> bool:
            return sample(pod.metrics, "clarion_presence_writes_total", outcome="failed") > 0

        await eventually(failed)
        assert pod.presence.pending > 0
        await redis.delete(keys.presence("user:alice"))
        await entries_are(register, a=1)
        await entries_are(register, "bob")


async def test_nothing_breaks_while_redis_is_away(
    start: Start, monkeypatch: pytest.MonkeyPatch, register: PresenceRegister
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(redis_server, "COMMAND_TIMEOUT_SECONDS", 0.0)
    async with start() as pod:
        pod.connect()

        async def failed() -> bool:
            return sample(pod.metrics, "clarion_presence_writes_total", outcome="failed") > 1

        await eventually(failed)
        monkeypatch.setattr(redis_server, "COMMAND_TIMEOUT_SECONDS", 5.0)
        await entries_are(register, a=1)
        monkeypatch.setattr(redis_server, "COMMAND_TIMEOUT_SECONDS", 0.0)
        await pod.presence.leave()


async def test_users_who_come_and_go_while_redis_is_away_are_forgotten(
    register: PresenceRegister, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.05)
    async with start(max_connections=20, heartbeat_seconds=60) as pod:
        staying = pod.connect("staying")
        gone = pod.connect("gone")
        await entries_are(register, "gone", a=1)
        before = pod.presence.pods.name
        monkeypatch.setattr(redis_server, "COMMAND_TIMEOUT_SECONDS", 0.0)
        pod.hub.remove(gone)
        for n in range(50):
            pod.hub.remove(pod.connect(f"user-{n}"))

        async def bounded() -> bool:
            return pod.presence.pending <= 20

        await eventually(bounded)
        monkeypatch.setattr(redis_server, "COMMAND_TIMEOUT_SECONDS", 5.0)
        pod.presence.renew()

        async def renamed() -> bool:
            return pod.presence.pods.name not in (None, before)

        await eventually(renamed)
        await entries_are(register, "staying", a=1)
        await entries_are(register, "gone")
        assert len((await register.pods()).loads) == 1, "the old name does not count any more"
        assert staying.closed_with is None


async def test_a_name_that_is_given_up_while_it_is_renewed_is_not_used_again(
    register: PresenceRegister, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise users who were forgotten with it would count again."""
    async with start() as pod:
        pod.connect()
        await entries_are(register, a=1)
        given_up = pod.presence._pods.name
        beat = register.beat

        async def beat_meanwhile(name: str, load: PodLoad, *, timeout_seconds: float) -> Pods:
            pods = await beat(name, load, timeout_seconds=timeout_seconds)
            pod.presence._pods = replace(pod.presence._pods, name=None)
            return pods

        monkeypatch.setattr(register, "beat", beat_meanwhile)
        await pod.presence._beat(renewed=False)
        assert pod.presence._pods.name not in {None, given_up}


async def test_a_pod_that_leaves_is_not_made_known_again_by_a_beat(
    register: PresenceRegister, start: Start
) -> None:
    """A beat in progress finds the pod forgotten."""
    async with start() as pod:
        pod.connect()
        await entries_are(register, a=1)
        await pod.presence.leave()
        await pod.presence._beat(renewed=False)
        assert (await register.pods()).loads == {}


class TestLimit:
    """At most LIMIT connections of one user, over all pods."""

    async def test_the_newest_one_is_closed_by_the_pod_to_which_it_came(
        self, register: PresenceRegister, start: Start
    ) -> None:
        async with start("a") as a, start("b") as b:
            old = [a.connect(), a.connect(), b.connect()]
            await entries_are(register, a=2, b=1)
            await eventually_closed(b.connect())
            await entries_are(register, a=2, b=1)
            assert [each.closed_with for each in old] == [None] * 3

    async def test_of_many_at_once_as_many_stay_as_may(
        self, register: PresenceRegister, start: Start
    ) -> None:
        """At the same moment on three pods: each closes its own, and not too many are closed."""
        async with start("a") as a, start("b") as b, start("c") as c:
            together = [pod.connect() for _ in range(LIMIT) for pod in (a, b, c)]

            async def settled() -> bool:
                # A pod that has just written waits for Redis' answer before it closes any.
                there = sum(each.closed_with is None for each in together)
                entries = await register.user("alice")
                pending = any(pod.presence.pending for pod in (a, b, c))
                written = sum(entry.connections for entry in entries.values())
                return not pending and written == there <= LIMIT

            await eventually(settled)
            assert sum(each.closed_with is None for each in together) == LIMIT

    async def test_there_is_room_again_when_one_has_left(
        self, register: PresenceRegister, start: Start
    ) -> None:
        async with start("a") as a, start("b") as b:
            first, *_ = [a.connect() for _ in range(LIMIT)]
            await entries_are(register, a=LIMIT)
            a.hub.remove(first)
            await entries_are(register, a=LIMIT - 1)
            assert b.connect().closed_with is None
            await entries_are(register, a=LIMIT - 1, b=1)

    async def test_what_a_dead_pod_held_does_not_count(
        self, register: PresenceRegister, start: Start, redis: Redis, keys: Keyspace
    ) -> None:
        async with start("a", heartbeat_seconds=1) as a:
            name = (await register.begin("dead", PodLoad(0, 3, 1), timeout_seconds=0.3)).name
            assert name is not None
            await register.write(name, [("alice", PresenceEntry(LIMIT, NOW))])
            await eventually_closed(a.connect())

            async def is_gone() -> bool:
                return a.presence._pods.is_gone(name)

            await eventually(is_gone)
            taken = [a.connect() for _ in range(LIMIT)]
            await entries_are(register, a=LIMIT)
            assert [each.closed_with for each in taken] == [None] * LIMIT
            assert await redis.hexists(keys.presence("user:alice"), name) is False

    async def test_connections_stay_when_redis_has_forgotten_them(
        self, register: PresenceRegister, start: Start, redis: Redis, keys: Keyspace
    ) -> None:
        """Even if there are too many by then: no connection is closed because of Redis."""
        async with start("a") as a, start("b") as b:
            a_held = [a.connect() for _ in range(LIMIT)]
            await entries_are(register, a=LIMIT)
            await redis.delete(keys.pods, keys.presence("user:alice"))
            b_held = [b.connect() for _ in range(LIMIT)]
            b.presence.renew()
            await entries_are(register, b=LIMIT)
            a.presence.renew()
            await entries_are(register, a=LIMIT, b=LIMIT)
            assert {each.closed_with for each in a_held + b_held} == {None}
            await eventually_closed(a.connect())


async def eventually_closed(connection: Recorder) -> None:
    async def closed() -> bool:
        return connection.closed_with == close_codes.TOO_MANY_CONNECTIONS

    await eventually(closed)


async def holds(condition: Callable[[], bool]) -> None:
    async def asked() -> bool:
        return condition()

    await eventually(asked)


async def test_two_pods_of_one_name_do_not_throw_each_other_out(
    register: PresenceRegister, start: Start
) -> None:
    """Each finds the other, both count, and each notices when the other has gone."""
    async with start("twin", heartbeat_seconds=1) as first:
        first.connect("alice")
        await entries_are(register, twin=1)
        async with start("twin", heartbeat_seconds=1) as second:
            second.connect("bob")
            await holds(lambda: first.presence.namesakes.count == 1)
            await holds(lambda: second.presence.namesakes.count == 1)
            names = {first.presence.pods.name, second.presence.pods.name}
            for _ in range(3):  # heartbeats later, they have kept their names
                before = first.presence.pods
                await holds(lambda old=before: first.presence.pods is not old)
                assert {first.presence.pods.name, second.presence.pods.name} == names
                assert set((await register.pods()).loads) == names
            await entries_are(register, twin=1)
            await entries_are(register, "bob", twin=1)
            await second.presence.leave()
        await holds(lambda: first.presence.namesakes.count == 0)
        assert first.presence.namesakes.warnings == ()


async def test_a_pod_that_begins_anew_is_not_its_own_namesake(
    register: PresenceRegister, start: Start, keys: Keyspace, redis: Redis
) -> None:
    async with start("a", heartbeat_seconds=1) as pod:
        await holds(lambda: pod.presence.pods.name is not None)
        old = pod.presence.pods.name
        await redis.delete(keys.pods)
        await holds(lambda: pod.presence.pods.name not in (None, old))
        assert pod.presence.namesakes.count == 0
