"""The outcomes of events that are handed in, on a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.event import Published
from clarion_contract.identity.claims import Claims
from clarion_contract.redis.keyspace import Keyspace
from clarion_publisher.ingestion.admission import Admission
from clarion_publisher.ingestion.authorise import SCOPES
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.ingestion import Ingestion, Outcome
from clarion_publisher.ingestion.rate_limit import RateLimit
from clarion_publisher.ingestion.refusal import (
    BUS_UNAVAILABLE,
    DATA_TOO_LARGE,
    INSUFFICIENT_SCOPE,
    INVALID_EVENT,
    KEY_REUSED,
    OVERLOADED,
    RATE_LIMITED,
    Kind,
    Refusal,
)
from clarion_publisher.ingestion.tracing import PublishTracer
from clarion_publisher.metrics import Metrics
from tests.valkey import free_port

CALLER = Claims("orders", frozenset(SCOPES.values()), 0)
ALICE = Audience("user", "alice")
GOOD = IncomingEvent(ALL, "tick", b"1")
UNREADABLE = Refusal(INVALID_EVENT, "unreadable")


class Room:
    """An ingestion, and its metrics."""

    def __init__(self, redis_url: str, namespace: str, **limits: Any) -> None:
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.keyspace = Keyspace(namespace)
        self.bus = Bus(redis_from_url(redis_url), self.keyspace, HistoryLimits(100, 600, 600))
        self.queue = PublishQueue(
            self.bus, max_pending=limits.get("max_pending", 100), patience_seconds=0
        )
        self.ingestion = Ingestion(
            Admission(data_max_bytes=10),
            RateLimit(events_per_second=limits.get("rate", 0), burst_events=3),
            self.queue,
            PublishTracer(None),
            metrics,
        )

    async def data(self, audience: Audience) -> list[bytes]:
        (history,) = await self.bus.history([(audience, 0)], limit=100, broken_too=True)
        return [event.data for event in history.events]

    def counted(self) -> dict[tuple[str, str], float]:
        """Events by outcome and audience."""
        return {
            (sample.labels["outcome"], sample.labels["audience"]): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "clarion_publish_events_total"
        }


@contextlib.asynccontextmanager
async def opened(redis_url: str, namespace: str, **limits: Any) -> AsyncIterator[Room]:
    room = Room(redis_url, namespace, **limits)
    running = asyncio.create_task(room.queue.run())
    try:
        yield room
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await room.bus.aclose()


def kinds(outcomes: list[Outcome]) -> list[Kind | None]:
    """The refusals' kinds by event; None: it was published."""
    return [outcome.kind if isinstance(outcome, Refusal) else None for outcome in outcomes]


async def test_outcomes_stand_in_their_events_places(redis_url: str, namespace: str) -> None:
    caller = Claims("orders", frozenset({"publish:all"}), 0)
    async with opened(redis_url, namespace) as room:
        outcomes = await room.ingestion.publish(
            caller,
            [
                GOOD,
                UNREADABLE,
                IncomingEvent(ALL, "tick", b"x" * 11),
                IncomingEvent(ALICE, "tick", b"2"),
                IncomingEvent(ALL, "tick", b"3", "k"),
                IncomingEvent(ALL, "tick", b"3", "k"),
                IncomingEvent(ALL, "tick", b"4", "k"),
            ],
        )
        assert kinds(outcomes) == [
            None, UNREADABLE.kind, DATA_TOO_LARGE, INSUFFICIENT_SCOPE, None, None, KEY_REUSED,
        ]  # fmt: skip
        assert [o.duplicate for o in outcomes if isinstance(o, Published)] == [False, False, True]
        assert await room.data(ALL) == [b"1", b"3"]
    assert room.counted() == {
        ("published", "all"): 2,
        ("duplicate", "all"): 1,
        ("key_reused", "all"): 1,
        ("data_too_large", "all"): 1,
        ("insufficient_scope", "user"): 1,
        ("invalid_event", "unknown"): 1,
    }


async def test_nothing_becomes_of_nothing(redis_url: str, namespace: str) -> None:
    async with opened(redis_url, namespace) as room:
        assert await room.ingestion.publish(CALLER, []) == []
    assert room.counted() == {}


async def test_what_concerns_the_caller_concerns_every_event(
    redis_url: str, namespace: str
) -> None:
    """Even events that could not be read: the caller should send all of them again."""
    async with opened(redis_url, namespace, rate=0.001) as room:
        assert kinds(await room.ingestion.publish(CALLER, [GOOD] * 4)) == [None] * 4
        outcomes = await room.ingestion.publish(CALLER, [GOOD, UNREADABLE])
        assert kinds(outcomes) == [RATE_LIMITED] * 2
        assert await room.data(ALL) == [b"1"] * 4
        other = Claims("billing", CALLER.scopes, 0)
        assert kinds(await room.ingestion.publish(other, [GOOD])) == [None]
    assert room.counted()["rate_limited", "all"] == 1
    assert room.counted()["rate_limited", "unknown"] == 1


async def test_too_much_for_the_queue_is_refused_whole(redis_url: str, namespace: str) -> None:
    async with opened(redis_url, namespace, max_pending=2) as room:
        outcomes = await room.ingestion.publish(CALLER, [UNREADABLE, GOOD, GOOD, GOOD])
        assert kinds(outcomes) == [OVERLOADED] * 4
        assert await room.data(ALL) == []
        assert kinds(await room.ingestion.publish(CALLER, [GOOD, GOOD])) == [None, None]


async def test_without_redis_events_may_come_again(namespace: str) -> None:
    async with opened(f"redis://127.0.0.1:{free_port()}/0", namespace) as room:
        outcomes = await room.ingestion.publish(CALLER, [GOOD, UNREADABLE])
    assert kinds(outcomes) == [BUS_UNAVAILABLE, UNREADABLE.kind]
    assert outcomes[0].kind.retryable  # type: ignore[union-attr]
    assert not UNREADABLE.kind.retryable
    assert room.counted()["bus_unavailable", "all"] == 1


async def test_a_bug_is_nobodys_refusal(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(redis_url, namespace) as room:
        monkeypatch.setattr(room.queue, "publish_all", None)
        with pytest.raises(TypeError):
            await room.ingestion.publish(CALLER, [GOOD])
