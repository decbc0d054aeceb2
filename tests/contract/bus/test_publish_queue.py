"""The queue in front of the bus: order, shared pipelines, limits, and no caller left waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.bus.bus import Answer, Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.bus.publish_queue import PublishQueue, QueueFull
from clarion_contract.events.audience import ALL
from clarion_contract.events.errors import BusUnavailable, BusUnreachable, IdempotencyKeyReused
from clarion_contract.events.event import Publication, Published
from clarion_contract.redis.keyspace import Keyspace


class GatedBus:
    """Numbers events; each pipeline waits until the test releases it."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.gate = asyncio.Semaphore(10**9 if is_open else 0)
        self.pipelines: list[list[bytes]] = []
        self.failure: BaseException | None = None
        self.issued = 0

    async def publish(self, publications: Sequence[Publication]) -> list[Answer]:
        self.pipelines.append([publication.data for publication in publications])
        await self.gate.acquire()
        if self.failure is not None:
            raise self.failure
        answers: list[Answer] = []
        for publication in publications:
            self.issued += 1
            if publication.key == "reused":
                answers.append(IdempotencyKeyReused(7))
            elif publication.key == "refused":
                answers.append(BusUnavailable("refused"))
            else:
                answers.append(Published(self.issued, duplicate=False, gateways=0))
        return answers


def event(data: bytes = b"1", key: str | None = None) -> Publication:
    return Publication(ALL, "t", data, key)


@contextlib.asynccontextmanager
async def running(queue: PublishQueue) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(queue.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def turn() -> None:
    """Run everything that can run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_publishes_share_pipelines() -> None:
    bus = GatedBus()
    queue = PublishQueue(bus, max_pending=100)
    async with running(queue):
        first = asyncio.create_task(queue.publish(event(b"1")))
        await turn()
        rest = [asyncio.create_task(queue.publish(event(b"%d" % n))) for n in range(2, 6)]
        await turn()
        assert queue.pending == 4
        bus.gate.release()
        bus.gate.release()
        assert [(await task).id for task in (first, *rest)] == [1, 2, 3, 4, 5]
        assert bus.pipelines == [[b"1"], [b"2", b"3", b"4", b"5"]]
        assert queue.pending == 0


async def test_a_call_stays_whole() -> None:
    bus = GatedBus(is_open=True)
    queue = PublishQueue(bus, max_pending=10_000)
    calls = [asyncio.create_task(queue.publish_all([event()] * size)) for size in (400, 400, 700)]
    await turn()
    async with running(queue):
        answers = [await call for call in calls]
    assert [len(each) for each in answers] == [400, 400, 700]
    assert [len(pipeline) for pipeline in bus.pipelines] == [800, 700]


async def test_large_events_make_small_pipelines() -> None:
    bus = GatedBus(is_open=True)
    queue = PublishQueue(bus, max_pending=100)
    calls = [asyncio.create_task(queue.publish(event(bytes(3 << 20)))) for _ in range(4)]
    await turn()
    async with running(queue):
        await asyncio.gather(*calls)
    assert [len(pipeline) for pipeline in bus.pipelines] == [2, 2]


async def test_a_failure_stands_in_its_own_place() -> None:
    queue = PublishQueue(GatedBus(is_open=True), max_pending=100)
    async with running(queue):
        first, reused, refused, last = await queue.publish_all(
            [event(), event(key="reused"), event(key="refused"), event()]
        )
        assert isinstance(first, Published)
        assert isinstance(reused, IdempotencyKeyReused)
        assert isinstance(refused, BusUnavailable)
        assert isinstance(last, Published)
        with pytest.raises(IdempotencyKeyReused):
            await queue.publish(event(key="reused"))
        with pytest.raises(BusUnavailable):
            await queue.publish(event(key="refused"))


async def test_a_lost_bus_fails_one_pipeline_only() -> None:
    bus = GatedBus(is_open=True)
    queue = PublishQueue(bus, max_pending=100)
    async with running(queue):
        bus.failure = BusUnavailable("gone")
        calls = [queue.publish(event()), queue.publish(event())]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(result) for result in results] == ["gone", "gone"]
        assert results[0] is not results[1]
        bus.failure = None
        assert (await queue.publish(event())).id == 1


async def test_more_than_may_wait_is_refused_at_once() -> None:
    bus = GatedBus()
    queue = PublishQueue(bus, max_pending=3)
    async with running(queue):
        calls = [asyncio.create_task(queue.publish(event()))]
        await turn()
        calls += [asyncio.create_task(queue.publish(event())) for _ in range(2)]
        await turn()
        with pytest.raises(QueueFull):
            await queue.publish_all([event(), event()])
        calls.append(asyncio.create_task(queue.publish(event())))
        await turn()
        with pytest.raises(QueueFull):
            await queue.publish(event())
        for _ in range(2):
            bus.gate.release()
        await asyncio.gather(*calls)


async def test_nothing_to_publish() -> None:
    queue = PublishQueue(GatedBus(is_open=True), max_pending=3)
    async with running(queue):
        assert await queue.publish_all([]) == []


async def test_a_caller_that_gives_up_harms_no_other() -> None:
    bus = GatedBus()
    queue = PublishQueue(bus, max_pending=100)
    async with running(queue):
        calls = [asyncio.create_task(queue.publish(event())) for _ in range(3)]
        await turn()
        calls[1].cancel()
        bus.gate.release()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert [each.id for each in results if isinstance(each, Published)] == [1, 3]


@pytest.mark.parametrize("on_its_way", [True, False])
async def test_ending_the_queue_fails_waiting_publishes(on_its_way: bool) -> None:
    bus = GatedBus()
    queue = PublishQueue(bus, max_pending=100)
    async with running(queue):
        call = asyncio.create_task(queue.publish(event()))
        await turn()
        waiting = asyncio.create_task(queue.publish(event()))
        await turn()
    for each in (call, waiting):
        with pytest.raises(BusUnavailable, match="shutting down"):
            await each
    with pytest.raises(BusUnavailable, match="shutting down"):
        await queue.publish(event())


async def test_a_bug_in_the_bus_leaves_nobody_waiting() -> None:
    bus = GatedBus(is_open=True)
    bus.failure = RuntimeError("a bug")
    queue = PublishQueue(bus, max_pending=100)
    run = asyncio.create_task(queue.run())
    with pytest.raises(BusUnavailable):
        await queue.publish(event())
    with pytest.raises(RuntimeError, match="a bug"):
        await run


@given(st.lists(st.integers(0, 900), max_size=12))
def test_order_is_kept_and_each_caller_gets_its_own(sizes: list[int]) -> None:
    async def check() -> None:
        bus = GatedBus(is_open=True)
        queue = PublishQueue(bus, max_pending=20_000)
        async with running(queue):
            calls = [asyncio.create_task(queue.publish_all([event()] * size)) for size in sizes]
            answers = [await call for call in calls]
        ids = [each.id for one in answers for each in one if isinstance(each, Published)]
        assert ids == list(range(1, sum(sizes) + 1))
        assert [len(one) for one in answers] == sizes

    asyncio.run(check())


async def test_on_a_real_bus(redis_url: str, namespace: str) -> None:
    bus = Bus(redis_from_url(redis_url), Keyspace(namespace), HistoryLimits(10_000, 60, 60))
    queue = PublishQueue(bus, max_pending=10_000)
    async with running(queue):
        published = await asyncio.gather(
            *[queue.publish(event(b"%d" % number)) for number in range(2_000)]
        )
    (found,) = await bus.history([(ALL, 0)], limit=10_000, broken_too=True)
    await bus.aclose()
    assert [each.id for each in published] == [each.id for each in found.events]
    assert [int(each.data) for each in found.events] == list(range(2_000))


class AwayBus(GatedBus):
    """Fails once for each failure in the list, and then works."""

    def __init__(self, *failures: type[BusUnavailable]) -> None:
        super().__init__(is_open=True)
        self.failures = list(failures)

    async def publish(self, publications: Sequence[Publication]) -> list[Answer]:
        if self.failures:
            raise self.failures.pop(0)("away")
        return await super().publish(publications)


async def published(queue: PublishQueue) -> bool:
    try:
        await queue.publish(event())
    except BusUnavailable:
        return False
    return True


async def test_what_was_not_sent_waits_for_a_redis_that_was_there() -> None:
    bus = AwayBus()
    queue = PublishQueue(bus, max_pending=10)
    async with running(queue):
        assert await published(queue)
        bus.failures = [BusUnreachable] * 3
        assert await published(queue)
        assert bus.pipelines == [[b"1"], [b"1"]]


async def test_what_may_have_been_published_is_not_sent_again() -> None:
    bus = AwayBus()
    queue = PublishQueue(bus, max_pending=10)
    async with running(queue):
        assert await published(queue)
        bus.failures = [BusUnreachable, BusUnavailable]
        assert not await published(queue)
        assert len(bus.pipelines) == 1


async def test_patience_ends_once_for_all_and_begins_anew_when_redis_was_back() -> None:
    bus = AwayBus()
    queue = PublishQueue(bus, max_pending=10, patience_seconds=0.2)
    async with running(queue):
        assert await published(queue)
        bus.failures = [BusUnreachable] * 100
        assert not await published(queue)
        left = len(bus.failures)
        assert not await published(queue)
        assert len(bus.failures) == left - 1, "at once"
        bus.failures = []
        assert await published(queue)
        bus.failures = [BusUnreachable] * 2
        assert await published(queue)


async def test_nobody_waits_for_a_redis_that_never_was_there() -> None:
    bus = AwayBus(*[BusUnreachable] * 2)
    queue = PublishQueue(bus, max_pending=10)
    async with running(queue):
        assert not await published(queue)
        assert not await published(queue)
        assert await published(queue)


async def test_waiters_are_told_when_the_queue_ends() -> None:
    bus = AwayBus()
    queue = PublishQueue(bus, max_pending=10)
    async with running(queue) as task:
        assert await published(queue)
        bus.failures = [BusUnreachable] * 1_000
        waiting = asyncio.create_task(published(queue))
        await turn()
        task.cancel()
        assert not await asyncio.wait_for(waiting, 1)


async def test_a_submitted_call_is_answered_by_a_call() -> None:
    bus = GatedBus(is_open=True)
    queue = PublishQueue(bus, max_pending=3)
    answers: list[list[Answer]] = []
    async with running(queue):
        queue.submit([event(b"1"), event(b"2", "reused")], answers.append)
        assert queue.takes(1)
        assert not queue.takes(2)
        with pytest.raises(QueueFull):
            queue.submit([event(), event()], answers.append)
        assert answers == []
        await turn()
        ((first, second),) = answers
        assert first == Published(1, duplicate=False, gateways=0)
        assert isinstance(second, IdempotencyKeyReused)
    assert not queue.takes(1)


async def test_a_submitted_call_is_answered_when_the_queue_ends() -> None:
    queue = PublishQueue(GatedBus(), max_pending=10)
    answers: list[list[Answer]] = []
    async with running(queue):
        queue.submit([event()], answers.append)
        await turn()
        queue.submit([event(), event()], answers.append)
    assert [len(each) for each in answers] == [1, 2]
    assert all(isinstance(answer, BusUnavailable) for each in answers for answer in each)
