"""`clarion_gateway.delivery.topic_rings`: a topic's log is read once or twice for all clients."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.bus.history import History
from clarion_contract.events.audience import Audience, topic_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Event, Publication
from clarion_contract.texts.piece import Piece, piece_of, whole_pieces
from clarion_gateway.delivery.topic_rings import TopicRing, TopicRings, Want
from tests.gateway.memory_bus import MAX_AGE_MICROSECONDS, MemoryBus
from tests.gateway.recorder import event

A, B = topic_audience("a"), topic_audience("b")


class Counted(MemoryBus):
    """Counts the reads of each topic; a read of the newest must be bounded in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Audience] = []

    async def history(
        self, ranges: Sequence[tuple[Audience, int]], **options: Any
    ) -> list[History]:
        self.reads += [audience for audience, _ in ranges]
        await asyncio.sleep(0)
        return await super().history(ranges, **options)

    async def newest(self, audiences: Sequence[Audience], **options: Any) -> list[History]:
        assert options["max_bytes"] > 0
        await asyncio.sleep(0)
        return await super().newest(audiences, **options)  # which calls `history`


class Past:
    """A bus with events of topics, and rings to which rounds add."""

    def __init__(self, max_bytes: int = 1 << 20, max_events: int = 1_000) -> None:
        self.bus = Counted()
        self.rings = TopicRings(
            self.bus,
            max_bytes=max_bytes,
            max_events=max_events,
            max_age_seconds=MAX_AGE_MICROSECONDS // 1_000_000,
            position=lambda: self.bus.now,
        )

    def publish(self, audience: Audience, count: int = 1, data: bytes = b"{}") -> list[int]:
        events = [self.bus.publish(Publication(audience, "t", data)) for _ in range(count)]
        for each in events:
            self.rings.append(each)
        return ids_of(events)

    async def since(self, audience: Audience, since: int) -> list[int] | None:
        want = Want(audience, since)
        (ring,) = await self.rings.get([want])
        return ids_of(ring.since(since)) if ring.reaches(want) else None

    async def last(self, audience: Audience, count: int) -> list[int]:
        (ring,) = await self.rings.get([Want(audience, last=count)])
        return ids_of(ring.events[-count:])

    def reads(self, audience: Audience) -> int:
        return self.bus.reads.count(audience)


def ids_of(events: Sequence[Event]) -> list[int]:
    return [event.id for event in events]


async def test_a_topic_is_read_once_for_many_clients_at_once() -> None:
    past = Past()
    ids = past.publish(A, 5)
    found = await asyncio.gather(*(past.since(A, ids[2]) for _ in range(50)))
    assert found == [ids[3:]] * 50
    ids += past.publish(A, 2)
    assert await past.since(A, ids[2]) == ids[3:]
    assert await past.last(A, 3) == ids[-3:]
    assert past.reads(A) == 1


async def test_a_client_that_missed_more_has_it_read_once_more_for_all() -> None:
    past = Past()
    ids = {audience: past.publish(audience, 9) for audience in (A, B)}
    for since in (7, 5, 3, 1, 0):
        wants = [Want(audience, ids[audience][since]) for audience in (A, B)]
        for ring, want in zip(await past.rings.get(wants), wants, strict=True):
            assert ids_of(ring.since(want.since)) == ids[ring.audience][since + 1 :]
    assert past.reads(A) == past.reads(B) == 2, "one of them is of the newest"


async def test_what_leaves_in_a_round_while_the_log_is_read_is_there_once() -> None:
    past = Past()
    ids = past.publish(A, 3)
    reading = asyncio.create_task(past.since(A, ids[0]))
    await asyncio.sleep(0)
    ids += past.publish(A, 2)
    assert await reading == ids[1:]
    assert await past.last(A, 9) == ids


async def test_a_log_that_does_not_reach_back_is_not_read_again_and_again() -> None:
    past = Past()
    ids = past.publish(A, 9)
    past.bus.trim("topic:a", 4)
    for _ in range(5):
        assert await past.since(A, ids[0]) is None
        assert await past.last(A, 9) == ids[5:]
    assert past.reads(A) == 1


async def test_a_topic_that_nobody_publishes_to_is_not_read_again_and_again() -> None:
    past = Past()
    (before,) = past.publish(B)
    for _ in range(3):
        assert await past.since(A, before) == []
        assert await past.last(A, 5) == []
    assert past.reads(A) == 2, "since an id, and the newest"


async def test_one_busy_topic_keeps_its_newest_events_and_is_not_read_again_and_again() -> None:
    past = Past(max_bytes=80_000)
    ids = past.publish(A, 60, data=b"0" * 100)
    assert await past.since(A, ids[0]) is None
    assert await past.since(A, ids[0]) is None
    newest = await past.since(A, ids[-5])
    assert newest == ids[-4:]
    assert past.reads(A) <= 2
    ids += past.publish(A, 60, data=b"0" * 100)
    assert await past.since(A, ids[-5]) == ids[-4:]
    assert past.rings.cost_bytes <= 10_000


async def test_all_rings_together_are_bounded_and_those_asked_for_last_stay() -> None:
    past = Past(max_bytes=20_000)
    ids = {}
    for number in range(30):
        audience = topic_audience(str(number))
        ids[number] = past.publish(audience, 3)
        await past.last(audience, 3)
    assert past.rings.cost_bytes <= 20_000
    assert 0 < len(past.rings) < 30
    reads = len(past.bus.reads)
    assert await past.last(topic_audience("29"), 3) == ids[29]
    assert len(past.bus.reads) == reads
    assert await past.last(topic_audience("0"), 3) == ids[0]


async def test_a_topic_that_the_pod_gave_up_is_read_anew() -> None:
    past = Past()
    ids = past.publish(A, 2)
    (ring,) = await past.rings.get([Want(A, ids[0])])
    assert past.rings.hold([ring])
    past.rings.forget(["topic:a", "topic:b"])
    assert not past.rings.hold([ring])
    ids.append(past.bus.publish(Publication(A, "t", b"{}")).id)  # the pod does not hear it
    assert await past.since(A, ids[0]) == ids[1:]
    past.rings.clear()
    assert past.rings.cost_bytes == 0
    assert await past.since(A, ids[0]) == ids[1:]


async def test_what_is_older_than_history_reaches_is_not_told() -> None:
    past = Past()
    ids = past.publish(A, 2)
    assert await past.last(A, 2) == ids
    past.bus.now += MAX_AGE_MICROSECONDS + 1_000
    ids += past.publish(A)
    assert await past.last(A, 2) == ids[2:]
    assert await past.since(A, ids[0]) is None


async def test_a_read_that_fails_fails_for_its_client_and_the_next_one_reads() -> None:
    past = Past()
    ids = past.publish(A, 2)
    past.bus.down = True
    failed = await asyncio.gather(*(past.since(A, 0) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in failed] == [BusUnavailable] * 3
    past.bus.down = False
    assert await past.since(A, ids[0]) == ids[1:]


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_the_last_events_are_as_many_as_asked_for(count: int) -> None:
    past = Past()
    ids = past.publish(A, 4)
    assert await past.last(A, count) == ids[-count:]
    assert await past.last(A, 4) == ids


def text_piece(id_: int, seq: int, text: str, *, whole: bool = False, name: str = "a") -> Event:
    data = msgspec.json.encode(Piece(name, seq, whole, "writing", text))
    return Event(id_, id_ - 1, A, "answer", data, of_text=True)


def ring_of(*ids: int, floor: int) -> TopicRing:
    """A ring whose log begins with these events."""
    ring = TopicRing(A)
    ring.begin([event(id_, A) for id_ in ids], floor, begins=True, is_deep=True)
    return ring


def test_a_ring_has_the_events_that_were_added() -> None:
    ring = ring_of(11, 13, floor=10)
    assert [ring.has(id_) for id_ in range(10, 15)] == [False, True, False, True, False]


def test_a_newest_event_is_added_without_a_merge() -> None:
    """A merge would cost each event as much time as the topic has history."""
    ring = ring_of(11, floor=10)
    events = ring.events
    ring.append(event(12, A))
    ring.append(text_piece(13, 1, "a", whole=True))
    ring.append(text_piece(14, 2, "b"))
    assert ring.events is events
    assert ids_of(events) == [11, 12, 14]


def test_a_late_event_is_put_in_its_place_unless_it_is_below_the_ring() -> None:
    for ring in (TopicRing(A), ring_of(floor=10)):
        for id_ in (13, 12, 11, 12):
            ring.append(event(id_, A))
        assert ids_of(ring.events) == [11, 12, 13]
    for id_ in (10, 9):
        ring.append(event(id_, A))
    assert ids_of(ring.events) == [11, 12, 13]
    ring.append(text_piece(15, 1, "a", whole=True))
    ring.append(text_piece(14, 1, "b", whole=True, name="b"))
    assert ids_of(ring.events) == [11, 12, 13, 14, 15]


def test_a_text_from_the_log_is_worth_more_than_its_piece_from_a_round() -> None:
    ring = TopicRing(A)
    ring.append(text_piece(12, 2, "b"))
    assert ring.is_short
    ring.begin([text_piece(12, 2, "ab", whole=True)], 10, begins=True, is_deep=True)
    ring.append(text_piece(12, 2, "b"))
    assert not ring.is_short
    assert [piece_of(each).text for each in ring.events] == ["ab"]


def test_a_ring_that_is_read_again_reaches_back_as_far_as_before() -> None:
    ring = ring_of(11, 13, floor=10)
    ring.begin([event(13, A)], 12, begins=False, is_deep=False)
    assert (ring.floor, ids_of(ring.events)) == (10, [11, 13])


@pytest.mark.parametrize("ids", [[], [11], [11, 12]])
def test_the_newest_event_never_expires(ids: list[int]) -> None:
    ring = ring_of(*ids, floor=10)
    ring.expire(20)
    assert ids_of(ring.events) == ids[-1:]


def test_a_ring_shrinks_by_its_oldest_events_and_not_further_than_it_must() -> None:
    ring = ring_of(11, 12, 13, floor=10)
    ring.shrink(ring.cost_bytes)
    assert (ids_of(ring.events), ring.begins) == ([11, 12, 13], True)
    ring.is_deep = False
    ring.shrink(ring.cost_bytes - 1)
    assert (ids_of(ring.events), ring.floor) == ([12, 13], 11)
    assert (ring.begins, ring.is_deep) == (False, True)
    ring.shrink(0)
    assert (ids_of(ring.events), ring.floor) == ([], 13)


async def test_a_ring_that_is_forgotten_gives_its_own_memory_back() -> None:
    past = Past()
    past.publish(A, 3)
    _, kept = await past.rings.get([Want(A), Want(B)])
    past.rings.forget(["topic:a"])
    assert past.rings.cost_bytes == kept.cost_bytes


async def test_a_ring_knows_that_it_has_the_whole_log() -> None:
    past = Past()
    past.publish(A, 3)
    for want in (Want(A), Want(A, last=5)):
        (ring,) = await past.rings.get([want])
        assert ring.begins
        past.rings.clear()
    (ring,) = await past.rings.get([Want(A, last=2)])
    assert not ring.begins
    assert len(ring.events) == 2, "no more than it was asked for"
    past.rings.clear()
    *_, trimmed, _ = past.publish(A, 9)
    past.bus.trim("topic:a", 1)
    (whole,) = await past.rings.get([Want(A, trimmed)])
    assert (whole.floor, whole.begins) == (trimmed, True)


async def test_who_missed_more_than_a_page_has_the_newest_of_all() -> None:
    past = Past(max_bytes=1 << 24)
    ids = past.publish(A, 600)
    assert await past.since(A, ids[0]) == ids[1:]
    assert past.reads(A) == 2, "since an id, and the newest"


async def test_a_ring_that_has_no_room_for_more_is_not_read_again() -> None:
    bounded = Past(max_events=5)
    ids = bounded.publish(A, 9)
    await bounded.last(A, 1)
    for _ in range(2):
        assert await bounded.since(A, ids[0]) is None
    assert bounded.reads(A) == 2

    small = Past(max_bytes=80_000)
    ids = small.publish(A, 60, data=b"0" * 100)
    for _ in range(2):
        newest = await small.last(A, 50)
        assert 0 < len(newest) < 50
        assert newest == ids[-len(newest) :]
    assert small.reads(A) == 1


async def test_a_growing_text_is_one_event_of_its_ring() -> None:
    past = Past()
    (ring,) = await past.rings.get([Want(A)])
    for piece in (
        text_piece(11, 1, "a", whole=True),
        text_piece(12, 2, "b"),
        text_piece(13, 3, "c"),
    ):
        past.rings.append(piece)
    assert [(each.id, piece_of(each).text) for each in ring.events] == [(13, "abc")]
    assert past.rings.hold([ring])
    assert past.rings.cost_bytes == ring.cost_bytes


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(1, 4)), max_size=20))
def test_a_piece_joins_its_text_as_if_the_ring_were_read_anew(
    said: list[tuple[str | None, int]],
) -> None:
    ring, joined = TopicRing(A), list[Event]()
    empty_bytes = ring.cost_bytes
    for id_, (name, seq) in enumerate(said, 11):
        event = Event(id_, id_ - 1, A, "t", b"{}")
        if name is not None:
            event = text_piece(id_, seq, f"{id_}.", whole=seq == 1, name=name)
        ring.append(event)
        joined, _ = whole_pieces([*joined, event])
        assert ring.events == joined
        assert ring.cost_bytes == empty_bytes + sum(each.cost_bytes for each in joined)


async def test_a_ring_without_the_beginning_of_a_text_is_read_anew() -> None:
    past = Past()
    (ring,) = await past.rings.get([Want(A)])
    past.rings.append(text_piece(12, 2, "b"))
    assert not past.rings.hold([ring])
    (again,) = await past.rings.get([Want(A)])
    assert again is not ring
