"""`clarion_gateway.bus.recovery_topics`: topics in Redis, for a while and bounded."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_gateway.bus.recovery_topics import RecoveryTopics
from tests.integration.pod import settings_of


@contextlib.asynccontextmanager
async def topics_in(redis_url: str, namespace: str) -> AsyncIterator[tuple[RecoveryTopics, Bus]]:
    settings = settings_of(redis_url, namespace)
    bus = Bus(redis_from_url(redis_url), settings.keyspace, settings.history)
    try:
        yield RecoveryTopics(bus, settings.keyspace, seconds=600), bus
    finally:
        await bus.aclose()


async def test_what_was_written_is_read_until_redis_forgets_it(
    redis_url: str, namespace: str
) -> None:
    async with topics_in(redis_url, namespace) as (topics, bus):
        await topics.write({"a": {"order.1": True}, "b": {}})
        await topics.write({"a": {"order.2": False}})
        assert await topics.read("a") == {"order.2": False}
        assert await topics.read("b") == {}
        assert await topics.read("c") is None
        left = await bus.command("TTL", f"{namespace}:{{recovery:a}}:topics")
        assert 0 < left <= 600


@pytest.mark.parametrize(("count", "is_known"), [(20, True), (200, False)])
async def test_too_many_topics_are_not_kept(
    redis_url: str, namespace: str, count: int, is_known: bool
) -> None:
    async with topics_in(redis_url, namespace) as (topics, _):
        await topics.write({"a": {f"a.topic.with.a.name.{each}": True for each in range(count)}})
        assert (await topics.read("a") is not None) == is_known


@pytest.mark.parametrize("value", ["", "{", '{"order.1":1}', "\x00"])
async def test_a_value_of_somebody_else_is_no_topics(
    redis_url: str, namespace: str, value: str
) -> None:
    async with topics_in(redis_url, namespace) as (topics, bus):
        await bus.command("SET", f"{namespace}:{{recovery:a}}:topics", value)
        assert await topics.read("a") is None
