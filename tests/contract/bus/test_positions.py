"""`clarion_contract.bus.positions`: from its position on, a client gets all events it has missed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.bus.positions import ONE_CLOCK, Loss, SeveralClocks
from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.event import Event
from clarion_gateway.delivery.missed import Missed, merge

BEHIND, CLOCKS = 10_000, 500
POSITIONS = SeveralClocks(BEHIND + CLOCKS)
ALICE = Audience("user", "alice")


@dataclass(frozen=True)
class Heard:
    """An event, and when the pod received it."""

    id: int
    at: int


def ids_of(moments: list[int], ahead: int, lane: int) -> list[int]:
    """Ids like those of publish.lua, for events of one clock, which is ahead of the other."""
    ids: list[int] = []
    for moment in moments:
        id_ = max(moment + ahead, (ids[-1] if ids else 0) + 1)
        ids.append(id_ + (id_ + lane) % 2)
    return ids


def test_one_clock_orders_the_events_of_all_streams() -> None:
    assert ONE_CLOCK.share_clock("all", "user:alice")
    assert POSITIONS.share_clock("all", "authenticated")
    assert not POSITIONS.share_clock("all", "user:alice")


@st.composite
def arrivals(draw: st.DrawFn) -> list[Heard]:
    """Events of both clocks as one pod receives them: in order per clock, late by up to BEHIND."""
    heard = []
    for lane, ahead in ((0, 0), (1, draw(st.integers(-CLOCKS, CLOCKS)))):
        moments = sorted(draw(st.lists(st.integers(50_000, 150_000), max_size=20, unique=True)))
        at = 0
        for moment, id_ in zip(moments, ids_of(moments, ahead, lane), strict=True):
            at = max(at, moment + draw(st.integers(0, BEHIND - 100)))
            heard.append(Heard(id_, at))
    return sorted(heard, key=lambda each: each.at)


@given(arrivals(), st.data())
def test_what_was_not_heard_lies_above_where_reading_begins(
    heard: list[Heard], data: st.DataObject
) -> None:
    """Wherever the connection ends, and whichever event was the last."""
    if not heard:
        return
    end = data.draw(st.integers(1, len(heard)))
    position = heard[end - 1].id
    shared, user = POSITIONS.shared_since(position), POSITIONS.user_since(position)
    for missed in heard[end:]:
        assert missed.id > (user if missed.id % 2 else shared)
    if position % 2 == 0:
        assert shared == position, "on the shared streams nothing comes again"


@given(st.integers(0, 2**53))
def test_with_one_clock_a_position_is_exact(position: int) -> None:
    assert ONE_CLOCK.shared_since(position) == ONE_CLOCK.user_since(position) == position


@pytest.mark.parametrize(("until", "expected"), [(4, 10), (15, 14), (16, 16)])
def test_a_loss_of_a_shared_stream_lies_at_an_id_of_its_clock(until: int, expected: int) -> None:
    """It is never below an id that was heard already."""
    assert POSITIONS.place(Loss(ALL, until), heard=10) == expected


@pytest.mark.parametrize("loss", [Loss(ALICE, 20), Loss(ALL, 20, forgotten=True)])
def test_what_no_shared_id_tells_lies_before_all_that_was_not_heard(loss: Loss) -> None:
    assert POSITIONS.place(loss, heard=10) == 10
    assert ONE_CLOCK.place(loss, heard=10) == 20
    assert ONE_CLOCK.place(loss, heard=30) == 30


def test_a_failover_breaks_the_ring_up_to_an_id_of_the_shared_clock() -> None:
    trimmed, forgotten = Loss(ALL, 40), Loss(ALL, 20, forgotten=True)
    assert ONE_CLOCK.forgotten_until([trimmed, forgotten], 30) == 20
    assert POSITIONS.forgotten_until([trimmed, forgotten], 30) == 30
    assert ONE_CLOCK.forgotten_until([trimmed], 30) == 0
    assert POSITIONS.forgotten_until([trimmed], 30) == 0


def test_a_round_leads_to_its_last_event_of_the_shared_clock() -> None:
    assert POSITIONS.last_shared([event(2), event(4), event(7)]) == 4
    assert POSITIONS.last_shared([event(7)]) == 0
    assert ONE_CLOCK.last_shared([event(2), event(4), event(7)]) == 7


def test_what_is_apart_counts_as_delivered_whatever_its_id() -> None:
    assert [POSITIONS.is_delivered(id_, 6) for id_ in (6, 7, 8, 9)] == [True, True, False, True]
    assert [ONE_CLOCK.is_delivered(id_, 6) for id_ in (6, 7)] == [True, False]


def event(id_: int) -> Event:
    return Event(id_, 0, ALICE if id_ % 2 else ALL, "t", b"1")


@pytest.mark.parametrize(
    ("shared_since", "user_since", "expected"),
    [(10, 3, [5, 11, 12, 13, 14, 101]), (4, 11, [6, 10, 12, 13, 14, 101])],
)
def test_a_merge_cuts_each_clock_by_its_own(
    shared_since: int, user_since: int, expected: list[int]
) -> None:
    """The pod's position ends the shared streams; every event read from the user's has arrived."""
    read = [event(id_) for id_ in (5, 6, 10, 11, 12, 13, 16, 101)]
    missed = Missed(True, read, shared_since, user_since)
    held = [event(12), event(14), event(13)]
    assert [each.id for each in merge(missed, held, 14, POSITIONS)] == expected
