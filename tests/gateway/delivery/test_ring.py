"""`clarion_gateway.delivery.ring`: recent events, whole or not at all, and encoded once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.event import Event
from clarion_gateway.delivery.ring import Ring, Segment
from clarion_gateway.wire.format import WireFormat
from clarion_gateway.wire.native import PLAIN, NativeFormat
from clarion_gateway.wire.sse import SSE
from tests.gateway.recorder import event

ALICE = Audience("user", "alice")


def streams_of(*, authenticated: bool) -> tuple[str, ...]:
    return ("all", "authenticated") if authenticated else ("all",)


def ids(items: list[Event | Segment] | None) -> list[int] | None:
    if items is None:
        return None
    return [
        each.id for item in items for each in (item.events if isinstance(item, Segment) else [item])
    ]


def test_an_unfilled_ring_knows_nothing() -> None:
    """Before the pod has caught up, `nothing since` would be a lie."""
    ring = Ring(1 << 20)
    ring.append(event(1))
    assert ring.since(0, ("all", "authenticated")) is None
    assert len(ring) == 0


def test_the_ring_answers_above_its_floor_only() -> None:
    ring = Ring(1 << 20)
    ring.fill(10, [event(11), event(13, AUTHENTICATED)])
    assert ring.since(9, ("all", "authenticated")) is None
    assert ids(ring.since(10, ("all", "authenticated"))) == [11, 13]
    assert ids(ring.since(11, ("all", "authenticated"))) == [13]
    assert ids(ring.since(12, ("all", "authenticated"))) == [13]
    assert ids(ring.since(99, ("all", "authenticated"))) == []


def test_targeted_events_stay_out_of_the_ring() -> None:
    ring = Ring(1 << 20)
    ring.fill(0, [])
    ring.append(event(1, ALICE))
    assert ids(ring.since(0, ("all", "authenticated"))) == []


def test_events_without_history_stay_out_of_the_ring() -> None:
    ring = Ring(1 << 20)
    ring.fill(0, [])
    ring.append(event(1, history=False))
    assert ids(ring.since(0, ("all", "authenticated"))) == []


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
    answer = ring.since(position, ("all", "authenticated"))
    if position < ring.floor:
        assert answer is None
    else:
        assert ids(answer) == [each.id for each in events if each.id > position]
    kept = events[len(events) - len(ring) :]
    assert sum(len(each.data) + 400 for each in kept) <= max_bytes


def filled(ring: Ring, count: int = 100, **options: object) -> Ring:
    ring.fill(0, [event(id_, **options) for id_ in range(1, count + 1)])  # type: ignore[arg-type]
    return ring


def segments(ring: Ring, *, authenticated: bool = True) -> list[Segment]:
    items = ring.since(ring.floor or 0, streams_of(authenticated=authenticated))
    assert items is not None
    return [item for item in items if isinstance(item, Segment)]


def test_events_are_encoded_once_for_all_clients_of_a_wire_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ring = filled(Ring(1 << 20, segment_bytes=4_000))
    encoded: Counter[int] = Counter()
    encode = NativeFormat.event

    def count(self: NativeFormat, event: Event) -> bytes:
        encoded[event.id] += 1
        return encode(self, event)

    monkeypatch.setattr(NativeFormat, "event", count)
    for authenticated in (True, False, True):
        for segment in segments(ring, authenticated=authenticated):
            got = segment.encoded(PLAIN)
            assert got == b"".join(encode(PLAIN, each) for each in segment.events)
    assert len(encoded) >= 90
    assert set(encoded.values()) == {1}


@pytest.mark.parametrize("wire_format", [PLAIN, SSE])
def test_a_segment_holds_what_its_clients_may_hear(wire_format: WireFormat) -> None:
    ring = Ring(1 << 20, segment_bytes=4_000)
    ring.fill(0, [event(id_, AUTHENTICATED if id_ % 3 else ALL) for id_ in range(1, 100)])
    for authenticated in (True, False):
        for segment in segments(ring, authenticated=authenticated):
            expected = [
                event(id_, AUTHENTICATED if id_ % 3 else ALL)
                for id_ in range(segment.first, segment.last + 1)
                if authenticated or id_ % 3 == 0
            ]
            assert segment.encoded(wire_format) == b"".join(wire_format.event(e) for e in expected)


def test_events_that_exclude_a_connection_stay_single() -> None:
    ring = Ring(1 << 20, segment_bytes=4_000)
    ring.fill(0, [event(i, exclude="one" if i == 50 else None) for i in range(1, 100)])
    assert len(segments(ring)) > 5
    assert not any(segment.first <= 50 <= segment.last for segment in segments(ring))
    assert ids(ring.since(0, ("all", "authenticated"))) == list(range(1, 100))


def test_what_is_encoded_counts_and_is_forgotten_first() -> None:
    max_bytes = 100_000
    ring = filled(Ring(max_bytes), 1_000, data=b"1" * 100)
    for _ in range(2):
        for segment in segments(ring):
            for wire_format in (PLAIN, SSE):
                assert segment.encoded(wire_format)
                assert ring.size_bytes <= max_bytes
    assert len(ring) * 500 >= max_bytes * 0.7, "events keep the most of it"
    assert ids(ring.since(ring.floor or 0, ("all", "authenticated"))) == list(
        range((ring.floor or 0) + 1, 1_001)
    )


def test_the_memory_of_a_ring_is_that_of_its_events_and_of_what_it_keeps_encoded() -> None:
    max_bytes = 100_000
    ring = filled(Ring(max_bytes, segment_bytes=4_000), data=b"1" * 200)
    events_bytes = ring.size_bytes
    kept: dict[Segment, int] = {}
    for segment in segments(ring):
        for wire_format in (PLAIN, SSE):
            kept[segment] = kept.pop(segment, 0) + len(segment.encoded(wire_format))
            while sum(kept.values()) > max_bytes / 4:
                del kept[next(iter(kept))]
            assert ring.size_bytes == events_bytes + sum(kept.values())
    assert 1 < len(kept) < len(segments(ring))


def test_events_that_are_dropped_give_back_the_memory_of_their_encoded_bytes() -> None:
    ring = filled(Ring(100_000, segment_bytes=4_000))
    first, *_, last = segments(ring)
    size_bytes = [len(segment.encoded(PLAIN)) for segment in (first, last)]
    assert ring.size_bytes == 100 * event(1).cost_bytes + sum(size_bytes)
    while (ring.floor or 0) < first.last:
        ring.append(event(999))
    assert ring.size_bytes == len(ring) * event(1).cost_bytes + size_bytes[1]


@pytest.mark.parametrize("begins_anew", [True, False])
def test_a_segment_that_the_ring_has_forgotten_can_still_be_written(begins_anew: bool) -> None:
    """A slow client has yet to take it. It counts no more."""
    ring = filled(Ring(100_000, segment_bytes=4_000))
    (first, *_) = segments(ring)
    if begins_anew:
        ring.fill(100, [])
    else:
        for id_ in range(101, 400):
            ring.append(event(id_))
    size_bytes = ring.size_bytes
    assert first.encoded(PLAIN)
    assert ring.size_bytes == size_bytes
