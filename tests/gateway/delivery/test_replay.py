"""`clarion_gateway.delivery.replay`: the ring, missed events, and the join of missed and live
events.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Publication
from clarion_gateway.delivery.replay import Missed, Replay, Ring, merge
from tests.gateway.memory_bus import MemoryBus
from tests.gateway.recorder import event, metrics, sample

ALICE = Audience("user", "alice")
BOB = Audience("user", "bob")


def ids(events: object) -> list[int] | None:
    return None if events is None else [each.id for each in events]  # type: ignore[attr-defined]


def test_an_unfilled_ring_knows_nothing() -> None:
    """Until the pod has caught up, "nothing since" might be wrong."""
    ring = Ring(1 << 20)
    ring.append(event(1))
    assert ring.since(0) is None
    assert len(ring) == 0


def test_the_ring_answers_above_its_floor_only() -> None:
    ring = Ring(1 << 20)
    ring.fill(10, [event(11), event(13, AUTHENTICATED)])
    assert ring.since(9) is None
    assert ids(ring.since(10)) == [11, 13]
    assert ids(ring.since(11)) == [13]
    assert ids(ring.since(12)) == [13]
    assert ids(ring.since(99)) == []


def test_targeted_events_stay_out_of_the_ring() -> None:
    ring = Ring(1 << 20)
    ring.fill(0, [])
    ring.append(event(1, ALICE))
    assert ids(ring.since(0)) == []


@given(
    st.integers(0, 4_000),
    st.lists(st.integers(0, 300), max_size=60),
    st.integers(0, 70),
)
def test_a_bounded_ring_answers_wholly_or_not_at_all(
    max_bytes: int, sizes: list[int], position: int
) -> None:
    ring = Ring(max_bytes)
    ring.fill(0, [])
    events = [event(i + 1, data=b"x" * size) for i, size in enumerate(sizes)]
    for each in events:
        ring.append(each)
    assert ring.floor is not None
    answer = ring.since(position)
    if position < ring.floor:
        assert answer is None
    else:
        assert ids(answer) == [each.id for each in events if each.id > position]
    kept = events[len(events) - len(ring) :]
    assert sum(len(each.data) + 400 for each in kept) <= max_bytes


class Past:
    """A bus with earlier events, and a ring that holds the shared ones."""

    def __init__(self, *, max_events: int = 100) -> None:
        self.bus = MemoryBus()
        self.ring = Ring(1 << 20)
        self.metrics = metrics()
        self.replay = Replay(self.bus, self.ring, self.metrics, max_events=max_events)
        self.begin = self.publish(ALL)
        self.ring.fill(self.begin, [])

    def publish(self, audience: Audience) -> int:
        published = self.bus.publish(Publication(audience, "tick", b"{}"))
        self.ring.append(published)
        return published.id


async def test_an_anonymous_client_missed_what_was_for_all() -> None:
    past = Past()
    a, _, _, b = (past.publish(to) for to in (ALL, AUTHENTICATED, ALICE, ALL))
    missed = await past.replay.missed(None, past.begin)
    assert missed.whole
    assert sorted(missed.events) == [a, b]
    assert sample(past.metrics, "clarion_resume_sources_total", source="ring") == 1


async def test_a_user_missed_what_was_for_all_and_for_him() -> None:
    past = Past()
    expected = [past.publish(to) for to in (ALL, AUTHENTICATED, ALICE)]
    past.publish(BOB)
    missed = await past.replay.missed("alice", past.begin)
    assert missed.whole
    assert sorted(missed.events) == expected


@pytest.mark.parametrize("user", [None, "alice"])
async def test_what_the_ring_no_longer_holds_comes_from_redis(user: str | None) -> None:
    past = Past()
    published = [past.publish(to) for to in (ALL, AUTHENTICATED, ALICE, ALL)]
    past.ring.fill(published[-1], [])
    missed = await past.replay.missed(user, past.begin)
    assert missed.whole
    expected = published if user else [published[0], published[3]]
    assert sorted(missed.events) == expected
    assert sample(past.metrics, "clarion_resume_sources_total", source="redis") == 1


async def test_ten_thousand_anonymous_clients_read_nothing_from_redis() -> None:
    past = Past()
    past.publish(ALL)
    past.bus.down = True
    assert (await past.replay.missed(None, past.begin)).whole
    with pytest.raises(BusUnavailable):
        await past.replay.missed("alice", past.begin)


@pytest.mark.parametrize("stream", ["all", "authenticated", "user:alice"])
async def test_a_trimmed_log_is_not_whole(stream: str) -> None:
    past = Past()
    for to in (ALL, AUTHENTICATED, ALICE) * 3:
        past.publish(to)
    past.bus.trim(stream, 2)
    past.ring.fill(past.bus.now, [])
    assert not (await past.replay.missed("alice", past.begin)).whole


async def test_an_emptied_redis_is_not_whole() -> None:
    past = Past()
    past.publish(ALICE)
    past.bus.lose_everything()
    assert not (await past.replay.missed("alice", past.begin)).whole


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
    assert not (await past.replay.missed(user, past.begin)).whole
    assert (await past.replay.missed(user, lost)).whole


@pytest.mark.parametrize("audience", [ALL, ALICE])
async def test_more_than_one_client_may_be_sent_is_not_whole(audience: Audience) -> None:
    """Fetching its state again is cheaper for the client, and bounds the pod's memory."""
    past = Past(max_events=5)
    for _ in range(5):
        past.publish(audience)
    assert (await past.replay.missed("alice", past.begin)).whole
    past.publish(audience)
    assert not (await past.replay.missed("alice", past.begin)).whole


@given(st.lists(st.integers(1, 40), unique=True), st.integers(0, 40), st.data())
def test_merge_joins_without_loss_or_doubling(
    all_ids: list[int], position: int, data: st.DataObject
) -> None:
    """Events from Redis may go past the pod's position; held events go up to it."""
    begun = data.draw(st.integers(0, position))
    read_until = data.draw(st.integers(begun, 50))
    missed = Missed(True, {id_: event(id_) for id_ in sorted(all_ids) if id_ <= read_until})
    held = [event(id_) for id_ in sorted(all_ids) if begun < id_ <= position]
    merged = merge(missed, held, position)
    assert ids(merged) == sorted(id_ for id_ in all_ids if id_ <= position)
