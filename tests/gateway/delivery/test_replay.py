"""`clarion_gateway.delivery.replay`: the events that clients missed are found."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.bus.history import History
from clarion_contract.bus.positions import ONE_CLOCK, Positions, SeveralClocks
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, topic_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Publication
from clarion_gateway.delivery.replay import Replay
from clarion_gateway.delivery.replay_room import Party, ReplayRoom
from clarion_gateway.delivery.ring import Ring
from clarion_gateway.delivery.topic_rings import TopicRings, Want
from tests.gateway.memory_bus import MemoryBus
from tests.gateway.recorder import Recorder, metrics, sample

ALICE = Audience("user", "alice")
BOB = Audience("user", "bob")
NEWS = topic_audience("news")


class Past:
    """A bus with earlier events, and a ring that holds the shared ones."""

    def __init__(
        self,
        *,
        max_events: int = 2_000,
        max_bytes: int = 1 << 20,
        positions: Positions = ONE_CLOCK,
        segment_bytes: int = 1 << 16,
    ) -> None:
        self.bus = MemoryBus(clustered=positions.several_sources)
        self.ring = Ring(1 << 20, segment_bytes=segment_bytes)
        self.topic_rings = TopicRings(
            self.bus,
            max_bytes=1 << 20,
            max_events=5,
            max_age_seconds=600,
            position=lambda: self.bus.now,
        )
        self.metrics = metrics()
        self.room = ReplayRoom(max_bytes=2 << 20, wait_seconds=0.01)
        self.replay = Replay(
            self.bus,
            self.ring,
            self.metrics,
            self.room,
            max_events=max_events,
            max_bytes=max_bytes,
            positions=positions,
            topic_rings=self.topic_rings,
        )
        self.begin = self.publish(ALL)
        self.ring.fill(self.begin, [])

    def publish(self, audience: Audience, data: bytes = b"{}") -> int:
        published = self.bus.publish(Publication(audience, "tick", data))
        self.ring.append(published)
        if audience.shown:
            self.topic_rings.append(published)
        return published.id


async def test_an_anonymous_client_missed_what_was_for_all() -> None:
    past = Past()
    a, _, _, b = (past.publish(to) for to in (ALL, AUTHENTICATED, ALICE, ALL))
    missed = await past.replay.missed(Recorder(None), past.begin)
    assert missed.whole
    assert sorted(each.id for each in missed.events) == [a, b]
    assert sample(past.metrics, "clarion_resume_sources_total", source="ring") == 1


async def test_a_user_missed_events_for_all_and_for_the_user() -> None:
    past = Past()
    expected = [past.publish(to) for to in (ALL, AUTHENTICATED, ALICE)]
    past.publish(BOB)
    missed = await past.replay.missed(Recorder("alice"), past.begin)
    assert missed.whole
    assert sorted(each.id for each in missed.events) == expected


@pytest.mark.parametrize("user", [None, "alice"])
async def test_what_the_ring_no_longer_holds_comes_from_redis(user: str | None) -> None:
    past = Past()
    published = [past.publish(to) for to in (ALL, AUTHENTICATED, ALICE, ALL)]
    past.ring.fill(published[-1], [])
    missed = await past.replay.missed(Recorder(user), past.begin)
    assert missed.whole
    expected = published if user else [published[0], published[3]]
    assert sorted(each.id for each in missed.events) == expected
    assert sample(past.metrics, "clarion_resume_sources_total", source="redis") == 1


async def test_ten_thousand_anonymous_clients_read_nothing_from_redis() -> None:
    past = Past()
    past.publish(ALL)
    past.bus.down = True
    assert (await past.replay.missed(Recorder(None), past.begin)).whole
    with pytest.raises(BusUnavailable):
        await past.replay.missed(Recorder("alice"), past.begin)


@pytest.mark.parametrize("stream", ["all", "authenticated", "user:alice"])
async def test_a_trimmed_log_is_not_whole(stream: str) -> None:
    past = Past()
    for to in (ALL, AUTHENTICATED, ALICE) * 3:
        past.publish(to)
    past.bus.trim(stream, 2)
    past.ring.fill(past.bus.now, [])
    assert not (await past.replay.missed(Recorder("alice"), past.begin)).whole


async def test_a_trimmed_log_is_whole_for_a_client_that_has_the_event_before() -> None:
    past = Past()
    first, second, *rest = [past.publish(ALICE) for _ in range(5)]
    past.bus.trim("user:alice", 3)
    alice = Recorder("alice")
    missed = await past.replay.missed(alice, second)
    assert missed.whole
    assert [each.id for each in missed.events] == rest
    assert not (await past.replay.missed(alice, first)).whole


async def test_an_emptied_redis_is_not_whole() -> None:
    past = Past()
    past.publish(ALICE)
    past.bus.lose_everything()
    assert not (await past.replay.missed(Recorder("alice"), past.begin)).whole


@pytest.mark.parametrize("user", [None, "alice"])
async def test_a_position_from_before_a_failover_that_lost_events_is_not_whole(
    user: str | None,
) -> None:
    """The logs look complete: a forgotten event leaves no trace in them."""
    past = Past()
    past.publish(ALL)
    lost = past.publish(ALL)
    past.bus.lose_last(1)
    past.ring.break_until(lost)
    assert not (await past.replay.missed(Recorder(user), past.begin)).whole
    assert (await past.replay.missed(Recorder(user), lost)).whole


@pytest.mark.parametrize("audience", [ALL, ALICE])
async def test_more_than_one_client_may_be_sent_is_not_whole(audience: Audience) -> None:
    """Fetching its state again is cheaper for the client, and bounds the pod's memory."""
    past = Past(max_events=5)
    for _ in range(5):
        past.publish(audience)
    assert (await past.replay.missed(Recorder("alice"), past.begin)).whole
    past.publish(audience)
    assert not (await past.replay.missed(Recorder("alice"), past.begin)).whole


@pytest.mark.parametrize("audience", [ALL, AUTHENTICATED, ALICE])
@pytest.mark.parametrize("in_ring", [True, False])
async def test_more_bytes_than_one_client_may_be_sent_are_not_whole(
    audience: Audience, in_ring: bool
) -> None:
    past = Past(max_bytes=5_000)
    for _ in range(2):
        past.publish(audience, b"1" * 2_100)
    if not in_ring:
        past.ring.fill(past.bus.now, [])
    assert (await past.replay.missed(Recorder("alice"), past.begin)).whole
    past.publish(audience)
    assert not (await past.replay.missed(Recorder("alice"), past.begin)).whole


async def test_segments_count_as_their_events() -> None:
    past = Past(max_events=6, segment_bytes=1_000)
    first, *_ = [past.publish(ALL) for _ in range(12)]
    assert not (await past.replay.missed(Recorder(None), past.begin)).whole
    assert (await past.replay.missed(Recorder(None), first + 5)).whole


def asking(user: str | None, *topics: Audience) -> Recorder:
    connection = Recorder(user)
    connection.asked = topics
    return connection


async def test_the_past_of_topics_comes_from_their_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    past = Past()
    expected = [past.publish(to) for to in (NEWS, ALICE, ALL, NEWS)]
    past.publish(topic_audience("other"))
    reads = Reads(past, monkeypatch)
    for _ in range(2):
        missed = await past.replay.missed(asking("alice", NEWS), past.begin)
        assert missed.whole
        assert sorted(each.id for each in missed.events) == expected
        assert missed.not_resumed == []
    assert reads.ranges == [1, 1, 1], "the topic once, and her own log each time"


async def test_a_topic_whose_history_was_trimmed_is_told_alone() -> None:
    past = Past()
    for _ in range(3):
        past.publish(NEWS)
    past.bus.trim(NEWS.stream, 2)
    own = past.publish(ALICE)
    missed = await past.replay.missed(asking("alice", NEWS), past.begin)
    assert missed.whole
    assert missed.not_resumed == [NEWS]
    assert [each.id for each in missed.events] == [own]


async def test_a_topic_of_which_the_ring_has_no_room_for_so_much_is_read_from_redis() -> None:
    past = Past()
    ids = [past.publish(NEWS) for _ in range(9)]
    await past.topic_rings.get([Want(NEWS, last=2)])
    missed = await past.replay.missed(asking(None, NEWS), past.begin)
    assert missed.whole
    assert missed.not_resumed == []
    assert sorted(each.id for each in missed.events) == ids


async def test_a_client_whose_last_event_a_ring_has_lacks_what_follows() -> None:
    """Reading begins before that event on a cluster, where the log may have been trimmed."""
    past = Past(positions=SeveralClocks(1_000))
    past.publish(NEWS)
    past.bus.now += 2_000
    _, last, newer = (past.publish(NEWS) for _ in range(3))
    past.bus.trim(NEWS.stream, 2)
    missed = await past.replay.missed(asking(None, NEWS), last)
    assert missed.whole
    assert missed.not_resumed == []
    assert newer in [each.id for each in missed.events]


async def test_a_resume_takes_a_turn_of_its_user_and_room_for_its_own_events() -> None:
    past = Past()
    parties: list[Party] = []
    turn = past.room.turn

    def noted(party: Party) -> AbstractAsyncContextManager[None]:
        parties.append(party)
        return turn(party)

    past.room.turn = noted  # type: ignore[method-assign]
    for audience in (ALL, NEWS):
        past.publish(audience, b"1" * 90_000)
    own = past.publish(ALICE, b"1" * 70_000)
    alice = asking("alice", NEWS)
    missed = await past.replay.missed(alice, past.begin, "192.0.2.7")
    assert parties == [Party("alice", "192.0.2.7")]
    (event,) = (each for each in missed.events if each.id == own)
    assert past.room.used_bytes == event.cost_bytes


@pytest.mark.parametrize("audience", [ALL, ALICE])
async def test_what_is_too_much_for_a_client_is_not_read_to_its_end(audience: Audience) -> None:
    past = Past(max_bytes=2 << 20)
    for _ in range(100):
        past.publish(audience, b"1" * 200_000)
    past.ring.fill(past.bus.now, [])
    assert not (await past.replay.missed(Recorder("alice"), past.begin)).whole
    assert past.bus.read_bytes < 5 << 20


async def test_logs_are_read_in_pages() -> None:
    past = Past()
    published = [past.publish(to) for to in (ALL, AUTHENTICATED, ALICE) * 600]
    past.ring.fill(past.bus.now, [])
    missed = await past.replay.missed(Recorder("alice"), past.begin)
    assert missed.whole
    assert sorted(each.id for each in missed.events) == published


@pytest.mark.parametrize("keep", [0, 50])
async def test_a_log_that_is_trimmed_between_two_pages_is_not_whole(
    keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = Past()
    for _ in range(600):
        past.publish(ALICE)
    read = past.bus.history

    async def history(*args: Any, **options: Any) -> list[History]:
        page = await read(*args, **options)
        past.bus.trim("user:alice", keep)
        return page

    monkeypatch.setattr(past.bus, "history", history)
    assert not (await past.replay.missed(Recorder("alice"), past.begin)).whole


class Reads:
    """Counts the reads of logs."""

    def __init__(self, past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ranges: list[int] = []
        self._read = past.bus.history
        monkeypatch.setattr(past.bus, "history", self._history)

    async def _history(self, ranges: Any, **options: Any) -> list[History]:
        self.ranges.append(len(ranges))
        return await self._read(ranges, **options)


async def test_one_glance_finds_what_several_clients_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    past = Past()
    a = past.publish(ALICE)
    b = past.publish(ALL)
    past.publish(BOB)
    c = past.publish(ALICE)
    clients = [Recorder("alice"), Recorder("bob"), Recorder(None), Recorder("alice")]
    positions = [past.begin, c, past.begin, a]
    reads = Reads(past, monkeypatch)
    found = await past.replay.glance([*zip(clients, positions, strict=True)])
    assert [each and sorted(event.id for event in each.events) for each in found] == [
        [a, b, c],
        [],
        [b],
        [b, c],
    ]
    assert reads.ranges == [3]
    assert past.room.used_bytes == 0
    assert sample(past.metrics, "clarion_resume_sources_total", source="ring") == 4


async def test_a_glance_says_which_clients_have_to_be_looked_at_alone() -> None:
    past = Past()
    for _ in range(51):
        past.publish(ALICE)
    past.publish(BOB, b"1" * 40_000)
    past.publish(BOB, b"1" * 40_000)
    fan = Recorder("carol")
    fan.asked = (topic_audience("news"),)
    clients = [(Recorder(user), past.begin) for user in ("alice", "bob", "dave", None)]
    found = await past.replay.glance([*clients, (fan, past.begin)])
    assert [each is not None for each in found] == [False, False, True, True, False]
    past.ring.fill(past.bus.now, [])
    assert await past.replay.glance([(Recorder(None), past.begin)]) == [None]
    assert sample(past.metrics, "clarion_resume_sources_total", source="redis") == 0


async def test_events_that_all_clients_share_are_not_too_much_for_a_glance() -> None:
    past = Past()
    shared = [past.publish(ALL, b"1" * 20_000) for _ in range(5)]
    own = past.publish(ALICE)
    (found,) = await past.replay.glance([(Recorder("alice"), past.begin)])
    assert found is not None
    in_segments = [event.id for segment in found.segments for event in segment.events]
    assert sorted([*in_segments, *(event.id for event in found.events)]) == [*shared, own]


async def test_a_glance_without_redis_serves_those_who_need_the_ring_only() -> None:
    past = Past()
    id_ = past.publish(ALL)
    past.bus.down = True
    known, anonymous = await past.replay.glance(
        [(Recorder("alice"), past.begin), (Recorder(None), past.begin)]
    )
    assert known is None
    assert anonymous is not None
    assert [event.id for event in anonymous.events] == [id_]


async def test_on_a_cluster_a_log_that_has_the_clients_last_event_is_whole() -> None:
    """Reading begins before that event, where the log may have been trimmed."""
    past = Past(positions=SeveralClocks(1_000))
    past.publish(ALICE)
    past.bus.now += 2_000
    _, last, newer = (past.publish(ALICE) for _ in range(3))
    alice = Recorder("alice")
    # Two clocks may have issued an id that no log has; nobody can tell whose it was.
    assert (await past.replay.missed(alice, last + 2)).exact == set()
    past.bus.trim("user:alice", 2)
    missed = await past.replay.missed(alice, last)
    assert missed.whole
    assert [each.id for each in missed.events] == [last, newer]
    assert missed.exact == {"user:alice"}
    assert await past.replay.glance([(alice, last)]) == [missed]


async def test_a_glance_finds_that_events_are_gone() -> None:
    past = Past()
    for _ in range(3):
        past.publish(ALICE)
    past.bus.trim("user:alice", 1)
    lost = past.publish(ALL)
    (trimmed,) = await past.replay.glance([(Recorder("alice"), past.begin)])
    assert trimmed is not None
    assert not trimmed.whole
    past.ring.break_until(lost)
    (forgotten,) = await past.replay.glance([(Recorder(None), past.begin)])
    assert forgotten is not None
    assert not forgotten.whole


@given(
    st.lists(st.sampled_from([ALL, AUTHENTICATED, ALICE, BOB]), max_size=12),
    st.lists(st.tuples(st.sampled_from([None, "alice", "bob"]), st.integers(0, 12)), max_size=5),
    st.sampled_from([None, "all", "user:alice", "user:bob"]),
    st.integers(0, 3),
)
async def test_a_glance_finds_what_each_client_would_find_alone(
    audiences: list[Audience],
    comes: list[tuple[str | None, int]],
    trimmed: str | None,
    keep: int,
) -> None:
    past = Past(max_events=6)
    ids = [past.begin, *(past.publish(audience) for audience in audiences)]
    if trimmed is not None and past.bus.knows(trimmed):
        past.bus.trim(trimmed, keep)
    clients = [(Recorder(user), ids[min(place, len(audiences))]) for user, place in comes]
    together = await past.replay.glance(clients)
    alone = [await past.replay.missed(*client) for client in clients]
    assert together == alone
