"""The bus in memory, which the state machine uses, answers like the Lua scripts on a Valkey."""

from __future__ import annotations

import asyncio
import uuid
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history import History
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.event import Event, Publication, parse_message
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.subscriber import Message, Subscriber
from tests.gateway.memory_bus import MemoryBus

STREAMS = (ALL, AUTHENTICATED, Audience("user", "alice"))
LIMITS = HistoryLimits(max_events=10_000, max_age_seconds=600, key_ttl_seconds=60)

AUDIENCE = st.sampled_from(STREAMS)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("publish"),
            AUDIENCE,
            st.sampled_from([None, "connection-1"]),
            st.sampled_from([b"[1]", b"[%s1]" % (b" " * 20)]),
            st.booleans(),
        ),
        st.tuples(
            st.just("read"),
            AUDIENCE,
            st.integers(0, 8),
            st.integers(1, 3),
            st.booleans(),
            st.sampled_from([0, 10, 1_000]),
        ),
        st.tuples(st.just("trim"), AUDIENCE, st.integers(0, 2)),
        st.tuples(st.just("lose everything")),
    ),
    max_size=14,
)


@dataclass
class Ids:
    """Ids of one bus as ranks, because two buses never agree on the time."""

    known: list[int] = field(default_factory=list)

    def rank(self, id_: int) -> tuple[int, bool]:
        """How many events are at or below an id, and whether the id is one of theirs."""
        return bisect_right(self.known, id_), id_ in self.known

    def event(self, event: Event) -> tuple[Any, ...]:
        rest = (event.audience, event.type, event.data, event.exclude, event.trace, event.history)
        return self.rank(event.id), self.rank(event.prev), rest

    def history(self, history: History) -> tuple[Any, ...]:
        events = [self.event(event) for event in history.events]
        next_since = None if history.next_since is None else self.rank(history.next_since)
        return self.rank(history.floor), self.rank(history.last), events, next_since

    def since(self, rank: int) -> int:
        if rank == 0 or not self.known:
            return 0
        return self.known[min(rank, len(self.known)) - 1]


async def compare(url: str, steps: list[tuple[Any, ...]], *, clustered: bool) -> None:
    redis = Redis.from_url(url)
    keyspace = Keyspace(f"test-{uuid.uuid4().hex[:12]}", clustered)
    real = Bus(redis_from_url(url), keyspace, LIMITS)
    memory = MemoryBus(clustered=clustered)
    # By clock: ids of several do not compare.
    real_by_clock: dict[str, Ids] = defaultdict(Ids)
    memory_by_clock: dict[str, Ids] = defaultdict(Ids)
    subscriber = Subscriber(url, keyspace)
    heard: list[Message] = []
    memory.listeners.append(heard.append)
    await subscriber.connect()
    await subscriber.subscribe([audience.stream for audience in STREAMS])
    for _ in STREAMS:
        await subscriber.receive()
    for step in steps:
        clock = keyspace.clock(step[1].stream) if len(step) > 1 else ""
        real_ids, memory_ids = real_by_clock[clock], memory_by_clock[clock]
        if step[0] == "publish":
            publication = Publication(step[1], "tick", step[3], exclude=step[2], history=step[4])
            (answer,) = await real.publish([publication])
            real_ids.known.append(answer.id)  # type: ignore[union-attr]
            memory_ids.known.append(memory.publish(publication).id)
            message = await subscriber.receive()
            assert isinstance(message, Message)
            assert message.stream == heard[-1].stream == step[1].stream
            assert real_ids.event(parse_message(step[1], message.payload)) == memory_ids.event(
                parse_message(step[1], heard[-1].payload)
            )
        elif step[0] == "read":
            _, audience, rank, limit, broken_too, max_bytes = step
            options: dict[str, Any] = {
                "limit": limit,
                "broken_too": broken_too,
                "max_bytes": max_bytes,
            }
            (expected,) = await real.history([(audience, real_ids.since(rank))], **options)
            (got,) = await memory.history([(audience, memory_ids.since(rank))], **options)
            assert memory_ids.history(got) == real_ids.history(expected)
            del options["broken_too"]
            (expected,) = await real.newest([audience], **options)
            (got,) = await memory.newest([audience], **options)
            assert memory_ids.history(got) == real_ids.history(expected)
        elif step[0] == "trim":
            if memory.knows(step[1].stream):
                await redis.xtrim(keyspace.log(step[1].stream), maxlen=step[2], approximate=False)
                memory.trim(step[1].stream, step[2])
        else:
            async for key in redis.scan_iter(f"{keyspace.namespace}:*"):
                await redis.delete(key)
            memory.lose_everything()
    check_order(real_by_clock, clustered=clustered)
    check_order(memory_by_clock, clustered=clustered)
    await subscriber.aclose()
    await real.aclose()
    await redis.aclose()


def check_order(by_clock: dict[str, Ids], *, clustered: bool) -> None:
    """Ids rise on each clock, and tell whether it is the shared one."""
    for clock, ids in by_clock.items():
        assert ids.known == sorted(set(ids.known))
        lane = int("shared" not in clock)
        assert not clustered or all(id_ % 2 == lane for id_ in ids.known)


@given(steps=STEPS, clustered=st.booleans())
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_is_done_to_both_they_answer_alike(
    redis_url: str, steps: Any, clustered: bool
) -> None:
    """With a cluster's keys too: for scripts, one node is equal to all nodes."""
    asyncio.run(compare(redis_url, steps, clustered=clustered))
