"""`clarion_gateway.delivery.missed`: both sides of "now" are joined, each event once."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, topic_audience
from clarion_contract.events.event import Event
from clarion_contract.texts.piece import Piece, piece_of
from clarion_gateway.delivery.missed import Missed, merge
from clarion_gateway.delivery.ring import Ring, Segment
from tests.gateway.recorder import event

ALICE = Audience("user", "alice")


def expanded(items: Iterable[Event | Segment]) -> list[int]:
    return [
        event.id
        for item in items
        for event in (item.events if isinstance(item, Segment) else [item])
    ]


@given(st.lists(st.integers(1, 40), unique=True), st.integers(0, 40), st.data())
def test_merge_joins_without_loss_or_doubling(
    all_ids: list[int], position: int, data: st.DataObject
) -> None:
    """Events from Redis may go past the pod's position; held events go up to it."""
    begun = data.draw(st.integers(0, position))
    read_until = data.draw(st.integers(begun, 50))
    missed = Missed(True, [event(id_) for id_ in sorted(all_ids) if id_ <= read_until])
    held = [event(id_) for id_ in sorted(all_ids) if begun < id_ <= position]
    merged = merge(missed, held, position)
    assert expanded(merged) == sorted(id_ for id_ in all_ids if id_ <= position)


@given(
    kinds=st.lists(
        st.sampled_from([ALL] * 4 + [AUTHENTICATED] * 4 + [ALICE, None]), min_size=20, max_size=40
    ),
    user=st.sampled_from([None, "alice"]),
    data=st.data(),
)
def test_segments_and_single_events_are_joined_without_loss_or_doubling(
    kinds: list[Audience | None], user: str | None, data: st.DataObject
) -> None:
    """None stands for an event to all that excludes a connection. The client held back some events
    that the ring has too.
    """
    events = [
        event(id_, kind or ALL, exclude=None if kind else "connection")
        for id_, kind in enumerate(kinds, 1)
    ]
    audiences = {ALL} if user is None else {ALL, AUTHENTICATED, ALICE}
    since, begun, read = sorted(data.draw(st.integers(0, len(events))) for _ in range(3))
    ring = Ring(1 << 20, segment_bytes=1_000)
    ring.fill(0, events[:read])
    items = ring.since(since, ("all",) if user is None else ("all", "authenticated"))
    assert items is not None
    singles = [item for item in items if isinstance(item, Event)]
    singles += [each for each in events[since:] if each.audience == ALICE and user]
    missed = Missed(
        True,
        singles,
        since,
        since,
        [item for item in items if isinstance(item, Segment)],
    )
    held = [each for each in events[begun:] if each.audience in audiences]
    expected = [each.id for each in events[since:] if each.audience in audiences]
    for apart in (False, True):
        merged = merge(missed, held, len(events), apart=apart)
        assert expanded(merged) == expected
        assert not apart or not any(isinstance(item, Segment) for item in merged)


def test_a_segment_stays_whole_unless_something_lies_within_it() -> None:
    ring = Ring(1 << 20)
    first = Segment(ring, 1, 3, [event(1), event(3)])
    second = Segment(ring, 5, 7, [event(5), event(7)])
    missed = Missed(True, [event(4, ALICE)], segments=[first, second])
    assert merge(missed, [], 7) == [first, event(4, ALICE), second]
    held = [event(6, ALICE)]
    assert merge(missed, held, 7) == [first, event(4, ALICE), event(5), event(6, ALICE), event(7)]
    assert merge(missed, [], 6) == [first, event(4, ALICE), event(5)]


def test_held_events_without_history_are_kept_though_the_ring_is_ahead_of_them() -> None:
    ring = Ring(1 << 20, segment_bytes=1)
    ring.fill(0, [event(1), event(4), event(5)])
    segments = [item for item in ring.since(0, ("all",)) or () if isinstance(item, Segment)]
    assert segments[-1].last > 2
    held = [event(2, history=False), event(3, AUTHENTICATED, history=False)]
    merged = merge(Missed(True, [event(5)], segments=segments), held, 5)
    assert expanded(merged) == [1, 2, 3, 4, 5]


def text_piece(id_: int, seq: int, text: str, *, whole: bool = False) -> Event:
    data = msgspec.json.encode(Piece("a", seq, whole, "writing", text))
    return Event(id_, id_ - 1, topic_audience("answer"), "answer", data, of_text=True)


def test_a_growing_text_is_one_event_with_the_pieces_that_came_in_meanwhile() -> None:
    """The missed text holds pieces that were held back, too; its entry has the newest one's id."""
    missed = Missed(True, [text_piece(5, 5, "abcde", whole=True)])
    held = [text_piece(4, 4, "d"), text_piece(5, 5, "e"), text_piece(6, 6, "f")]
    (merged,) = merge(missed, held, 6)
    assert isinstance(merged, Event)
    assert merged.id == 6
    assert piece_of(merged) == Piece("a", 6, True, "writing", "abcdef")
