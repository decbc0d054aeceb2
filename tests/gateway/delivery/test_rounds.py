"""`clarion_gateway.delivery.rounds.Delivery`: rounds, the pod's position, and the limit on waiting
events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from clarion_contract.bus.positions import ONE_CLOCK, Positions, SeveralClocks
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, topic_audience
from clarion_contract.events.event import Event
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.outbound import Outbound
from clarion_gateway.delivery import rounds as module
from clarion_gateway.delivery.ring import Ring
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.delivery.topic_rings import TopicRings
from clarion_gateway.delivery.tracing import FanoutTracer
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.wire import frames
from clarion_gateway.wire.native import NativeFormat
from tests.gateway.recorder import Recorder, event, messages_of, metrics, sample

ALICE = Audience("user", "alice")


class Stage:
    """A delivery and its parts; nothing runs unless `running`."""

    def __init__(
        self,
        pending_max_events: int = 1_000,
        unsent_max_bytes: int = 1 << 20,
        positions: Positions = ONE_CLOCK,
        *,
        pending_max_bytes: int = 64 << 20,
        tracer: Tracer | None = None,
        topic_rings: TopicRings | None = None,
    ) -> None:
        self.hub = Hub()
        self.ring = Ring(1 << 20)
        self.ring.fill(0, [])
        self.metrics: Metrics = metrics()
        self.delivery = Delivery(
            self.hub,
            self.ring,
            self.metrics,
            FanoutTracer(tracer, "pod-test"),
            pending_max_events=pending_max_events,
            pending_max_bytes=pending_max_bytes,
            held_max_events=1_000,
            unsent_max_bytes=unsent_max_bytes,
            positions=positions,
            topic_rings=topic_rings,
            clock=lambda: 0.001,
        )

    def connect(self, user: str | None = None, **options: Any) -> Recorder:
        connection = Recorder(user)
        self.hub.add(connection, **options)
        return connection

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.delivery.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_all_that_has_come_in_leaves_in_one_write_per_socket() -> None:
    stage = Stage()
    nobody, alice = stage.connect(), stage.connect("alice")
    stage.delivery.put(event(1))
    stage.delivery.put(event(2, AUTHENTICATED))
    stage.delivery.put(event(3, Audience("user", "alice")))
    stage.delivery.put(event(4))
    async with stage.running():
        await stage.delivery.flushed()
    assert nobody.event_ids == [1, 4]
    assert alice.event_ids == [1, 2, 3, 4]
    assert len(nobody.written) == len(alice.written) == 1
    assert sample(stage.metrics, "clarion_fanout_events_sum") == 4
    assert sample(stage.metrics, "clarion_fanout_recipients_sum") == 2
    assert sample(stage.metrics, "clarion_events_received_total", audience="all") == 2
    delivered = sample(stage.metrics, "clarion_deliveries_total", audience="all", wire="websocket")
    assert delivered == 4
    assert sample(stage.metrics, "clarion_delivered_bytes_total") == sum(
        len(b"".join(connection.written)) for connection in (nobody, alice)
    )


async def test_a_lone_event_leaves_at_once() -> None:
    """There is no timer: it takes a few turns of the loop, not a fixed time."""
    stage = Stage()
    connection = stage.connect()
    async with stage.running():
        await asyncio.sleep(0)
        stage.delivery.put(event(1))
        for _ in range(3):
            await asyncio.sleep(0)
        assert connection.event_ids == [1]


async def test_a_round_lets_others_in_between_slices_of_sockets() -> None:
    stage = Stage()
    connections = [stage.connect() for _ in range(1_000)]
    progress: list[int] = []

    async def watch() -> None:
        while not progress or progress[-1] < len(connections):
            progress.append(sum(bool(connection.written) for connection in connections))
            await asyncio.sleep(0)

    stage.delivery.put(event(1))
    async with stage.running(), asyncio.timeout(60):
        await watch()
    assert sum(0 < count < len(connections) for count in progress) >= 3


async def test_a_burst_is_cut_into_rounds_of_bounded_size() -> None:
    stage = Stage(pending_max_events=10_000)
    connection = stage.connect()
    for i in range(3_000):
        stage.delivery.put(event(i + 1, data=b'"' + b"x" * 200 + b'"'))
    async with stage.running():
        await stage.delivery.flushed()
    assert connection.event_ids == list(range(1, 3_001))
    assert 3 <= len(connection.written) < 100
    assert max(len(payload) for payload in connection.written) < 300_000


async def test_a_round_merges_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """All shared events of the round are merged in for each recipient of a targeted event."""
    monkeypatch.setattr(module, "_ROUND_MAX_MERGES", 6)
    stage = Stage()
    alice = stage.connect("alice")
    for id_ in range(1, 13):
        stage.delivery.put(event(id_, ALICE if id_ % 2 else ALL))
    async with stage.running():
        await stage.delivery.flushed()
    assert [len(messages_of(each)) for each in alice.written] == [6, 6]
    alice.written.clear()
    for id_ in range(13, 33):
        stage.delivery.put(event(id_, ALICE))
    async with stage.running():
        await stage.delivery.flushed()
    assert len(alice.written) == 1, "where nothing is merged, nothing is cut"


async def test_no_round_is_larger_than_what_may_wait_for_a_client() -> None:
    """A client that reads everything is not slow because many events came at once."""
    stage = Stage(unsent_max_bytes=16_384)
    connection = stage.connect()
    for i in range(300):
        stage.delivery.put(event(i + 1, data=b'"' + b"x" * 200 + b'"'))
    async with stage.running():
        await stage.delivery.flushed()
    assert connection.event_ids == list(range(1, 301))
    assert max(len(payload) for payload in connection.written) <= 16_384


async def test_position_follows_what_was_handed_over() -> None:
    stage = Stage()
    stage.delivery.advance(5)
    assert stage.delivery.position == 5
    stage.delivery.put(event(7))
    stage.delivery.advance(9)
    assert stage.delivery.position == 5, "7 still waits"
    async with stage.running():
        await stage.delivery.reached(9)
    assert stage.delivery.position == 9
    stage.delivery.advance(8)
    assert stage.delivery.position == 9, "it never goes back"


@pytest.mark.parametrize(
    ("positions", "reached"), [(ONE_CLOCK, [3, 5, 7]), (SeveralClocks(1_000), [2, 4, 6])]
)
async def test_each_round_moves_the_position_by_what_is_of_the_shared_clock(
    positions: Positions, reached: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while more events wait. On a cluster, odd ids are users' ids."""
    monkeypatch.setattr(module, "_ROUND_MAX_EVENTS", 2)
    stage = Stage(positions=positions)
    connection = stage.connect("alice")
    seen: list[int] = []
    connection.write = lambda _data: seen.append(stage.delivery.position)
    for id_ in (2, 3, 4, 5, 6, 7, 8):
        stage.delivery.put(event(id_, ALICE if id_ % 2 else ALL))
    async with stage.running():
        await stage.delivery.flushed()
    assert seen[:3] == reached


async def test_a_round_of_users_events_of_a_cluster_moves_no_position() -> None:
    stage = Stage(positions=SeveralClocks(1_000))
    stage.delivery.advance(2)
    stage.delivery.put(event(5, ALICE))
    async with stage.running():
        await stage.delivery.flushed()
    assert stage.delivery.position == 2


async def test_a_waiter_for_a_position_is_woken_when_it_comes() -> None:
    stage = Stage()
    waiting = [asyncio.create_task(stage.delivery.reached(position)) for position in (3, 5, 5)]
    await asyncio.sleep(0)
    stage.delivery.advance(4)
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, False, False]
    stage.delivery.advance(5)
    await asyncio.wait_for(asyncio.gather(*waiting), 1)


async def test_reading_pauses_while_too_many_events_wait() -> None:
    stage = Stage(pending_max_events=100)
    for i in range(100):
        stage.delivery.put(event(i + 1))
    room = asyncio.create_task(stage.delivery.room())
    await asyncio.sleep(0)
    assert not room.done()
    assert stage.delivery.pending == 100
    async with stage.running():
        await asyncio.wait_for(room, 1)
    assert stage.delivery.pending == 0


async def test_reading_pauses_while_too_many_bytes_wait() -> None:
    stage = Stage(pending_max_bytes=1_000)
    for begin in (0, 10):
        for i in range(4):
            stage.delivery.put(event(begin + i + 1, data=b"1" * 250))
        room = asyncio.create_task(stage.delivery.room())
        await asyncio.sleep(0)
        assert not room.done()
        async with stage.running():
            await asyncio.wait_for(room, 1)
    stage.delivery.put(event(20, data=b"1" * 999))
    await asyncio.wait_for(stage.delivery.room(), 1)


async def test_between_rounds_nothing_is_written() -> None:
    stage = Stage()
    connection = stage.connect()
    async with stage.running():
        async with stage.delivery.between_rounds():
            stage.delivery.put(event(1))
            for _ in range(5):
                await asyncio.sleep(0)
            assert connection.written == []
        await stage.delivery.flushed()
        assert connection.event_ids == [1]


async def test_a_rounds_events_stand_in_the_ring_before_the_first_write() -> None:
    """A client that connects during the round finds there the events its socket will not get."""
    stage = Stage()
    connection = stage.connect()
    seen: list[tuple[int, int]] = []
    connection.write = lambda _data: seen.append((len(stage.ring), stage.delivery.position))
    stage.delivery.put(event(1))
    stage.delivery.put(event(2))
    stage.delivery.advance(2)
    async with stage.running():
        await stage.delivery.flushed()
    assert seen == [(2, 2)]


async def test_a_sampled_events_span_lasts_until_the_sockets_have_it() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    stage = Stage(tracer=provider.get_tracer("test"))
    connection = stage.connect()
    written: list[int] = []
    connection.write = lambda _: written.append(len(exporter.get_finished_spans()))
    connection.unsent = 7
    stage.delivery.put(event(1, trace=f"00-{'1' * 32}-{'2' * 16}-01"))
    stage.delivery.put(event(2))
    async with stage.running():
        await stage.delivery.flushed()
    (span,) = exporter.get_finished_spans()
    assert written == [0]
    assert span.attributes is not None
    assert (span.attributes["clarion.recipients"], span.attributes["clarion.slow"]) == (1, 1)


async def test_the_duration_of_a_round_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    connection = stage.connect()
    now = 1_000.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)

    def take_three_seconds(_: bytes) -> None:
        nonlocal now
        now += 3

    connection.write = take_three_seconds
    stage.delivery.put(event(1))
    async with stage.running():
        await stage.delivery.flushed()
    assert sample(stage.metrics, "clarion_fanout_duration_seconds_sum") == 3


async def test_a_round_keeps_topics_events_that_have_a_history() -> None:
    kept: list[int] = []
    rings = SimpleNamespace(append=lambda each: kept.append(each.id))
    stage = Stage(topic_rings=cast("TopicRings", rings))
    topic = topic_audience("a")
    stage.delivery.put(event(1))
    stage.delivery.put(event(2, topic))
    stage.delivery.put(event(3, topic, history=False))
    stage.delivery.put(event(4, ALICE))
    async with stage.running():
        await stage.delivery.flushed()
    assert kept == [2]


async def test_bytes_are_shared_by_all_whom_they_are_written_to() -> None:
    """Waiting for several clients, they take memory once."""
    outbound = Outbound()
    said: list[tuple[bytes, bytes | None]] = []
    connections = [Recorder() for _ in range(2)]
    for connection in connections:
        connection.write = lambda data: said.append((data, outbound.shared))
    one, other = connections
    a, b, c, d = (b"%d" % number for number in range(4))
    await module.write(
        [(a, [one]), (b, [one, other]), (c, [one]), (c, [other]), (d, [one])], outbound
    )
    # The first of those with the same bytes cannot know of the next.
    assert said == [(a, None), (b, b), (b, b), (c, None), (c, c), (d, None)]
    assert outbound.shared is None


async def test_writing_lets_others_in_after_so_many_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections = [Recorder() for _ in range(100)]
    written = 0

    def count(_: bytes) -> None:
        nonlocal written
        written += 1

    for connection in connections:
        connection.write = count
    pauses: list[int] = []

    async def pause(seconds: float) -> None:
        assert seconds == 0
        pauses.append(written)

    monkeypatch.setattr(module.asyncio, "sleep", pause)
    await module.write([(b"%d" % number, connections) for number in range(6)], Outbound())
    assert pauses == [300, 600]
    monkeypatch.setattr(module, "_SOCKETS_PER_SLICE", 40)
    await module.write([(b"1", connections)], Outbound())
    assert pauses[2:] == [640, 680]


async def test_a_client_that_catches_up_has_events_held_back() -> None:
    stage = Stage()
    connection = stage.connect("alice", catching_up=True)
    stage.delivery.put(event(1))
    stage.delivery.put(event(2, Audience("user", "bob")))
    stage.delivery.put(event(3, exclude=connection.id))
    async with stage.running():
        await stage.delivery.flushed()
    assert connection.written == []
    assert connection.held is not None
    assert connection.held.take() == [event(1)]


async def test_publish_to_write_is_never_negative() -> None:
    """Redis' clock may be ahead of the pod's."""
    stage = Stage()
    stage.delivery.put(event(5_000_000))
    async with stage.running():
        await stage.delivery.flushed()
    assert sample(stage.metrics, "clarion_publish_to_write_seconds_sum") == 0
    assert sample(stage.metrics, "clarion_publish_to_write_seconds_count") == 1


class Poisoned(NativeFormat):
    """Cannot encode one of the events."""

    def event(self, event: Event) -> bytes:
        if event.type == "poison":
            raise KeyError("bug")
        return super().event(event)


async def test_an_event_that_cannot_be_encoded_costs_no_other_and_its_clients_are_told() -> None:
    stage = Stage()
    wire_format = Poisoned("websocket", frames.text)
    nobody, alice = Recorder(None, wire_format), Recorder("alice", wire_format)
    sound = stage.connect()
    stage.hub.add(nobody)
    stage.hub.add(alice)
    late = Recorder("late", wire_format)
    stage.hub.add(late, catching_up=True)
    stage.delivery.put(event(1))
    stage.delivery.put(Event(2, 1, AUTHENTICATED, "poison", b"{}"))
    stage.delivery.put(event(3))
    stage.delivery.advance(3)
    async with stage.running():
        await stage.delivery.flushed()
        await stage.delivery.reached(3)
    assert sound.event_ids == nobody.event_ids == [1, 3]
    kinds = [(message["kind"], message["id"]) for message in messages_of(b"".join(alice.written))]
    assert kinds == [("event", "1"), ("gap", "2"), ("event", "3")]
    assert late.written == [], "it is told when it has caught up"
    assert sample(stage.metrics, "clarion_fanout_recipients_sum") == 6
    delivered = sample(stage.metrics, "clarion_deliveries_total", audience="all", wire="websocket")
    assert delivered == 6
    assert sample(stage.metrics, "clarion_job_failures_total", task="delivery") == 1
    assert sample(stage.metrics, "clarion_gaps_total", outcome="lost") == 1


async def test_a_connection_that_cannot_be_written_to_is_closed_alone() -> None:
    stage = Stage()
    before, broken, after = stage.connect(), stage.connect(), stage.connect()

    def fail(_: bytes) -> None:
        raise KeyError("bug")

    broken.write = fail
    stage.delivery.put(event(1))
    async with stage.running():
        await stage.delivery.flushed()
    assert broken.closed_with == close_codes.INTERNAL_ERROR
    assert before.event_ids == after.event_ids == [1]
