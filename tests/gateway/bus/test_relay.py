"""`clarion_gateway.bus.relay` between two pods, over a bus in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from clarion_contract.redis.keyspace import Keyspace
from clarion_gateway.bus.relay import NobodyListens, Relay
from clarion_gateway.metrics.registry import Metrics
from tests.gateway.recorder import metrics, sample

KEYS = Keyspace("test")


class Wire:
    """Redis, as far as PUBLISH goes."""

    def __init__(self) -> None:
        self.hearers: dict[str, Relay] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def pod(self, name: str, of: Metrics | None = None) -> Relay:
        relay = Relay(self, KEYS, name, of or metrics(), self.spawn)
        self.hearers[KEYS.channel(relay.stream)] = relay
        return relay

    def spawn(self, _name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def command(self, *command: str | bytes | int) -> int:
        name, channel, payload = command
        assert name == "PUBLISH"
        assert isinstance(payload, bytes)
        hearer = self.hearers.get(str(channel))
        if hearer is None:
            return 0
        asyncio.get_running_loop().call_soon(hearer.hear, payload)
        return 1


async def _in_capitals(question: bytes) -> bytes:
    return question.upper()


async def test_each_question_gets_its_own_answer() -> None:
    wire = Wire()
    one, two = wire.pod("one"), wire.pod("two")
    two.answer = _in_capitals
    answers = await asyncio.gather(*(one.ask("two", b"a%d" % n, 30) for n in range(10)))
    assert answers == [b"A%d" % n for n in range(10)]


async def test_a_pod_that_is_not_there_is_known_at_once() -> None:
    wire = Wire()
    with pytest.raises(NobodyListens):
        await wire.pod("one").ask("two", b"", 30)


async def test_an_answer_that_stays_away_is_waited_for_no_longer_than_that() -> None:
    wire = Wire()
    one, two = wire.pod("one"), wire.pod("two")
    never = asyncio.Event()

    async def later(question: bytes) -> bytes:
        await never.wait()
        return question

    two.answer = later
    with pytest.raises(TimeoutError):
        await one.ask("two", b"", 0.01)
    never.set()  # the answer comes, and nobody waits for it any more
    while wire.tasks:
        await asyncio.sleep(0)


async def test_what_is_no_question_is_counted() -> None:
    counts = metrics()
    relay = Wire().pod("one", counts)
    for payload in (b"", b"{}", b"\xc1", b"\x93\xa1a"):
        relay.hear(payload)
    assert sample(counts, "clarion_bus_messages_invalid_total") == 4
