"""`clarion_gateway.bus.streams`: events heard on a stream, and when the pod subscribes to it."""

from __future__ import annotations

import pytest

from clarion_contract.bus.positions import ONE_CLOCK, Positions, SeveralClocks
from clarion_contract.events.audience import ALL, Audience, topic_audience
from clarion_gateway.bus import streams as module
from clarion_gateway.bus.streams import Stream, Streams
from tests.gateway.recorder import event

ALICE = Audience("user", "alice")


@pytest.mark.parametrize(
    ("last", "prev", "lacks"),
    [(0, 5, False), (1, 5, True), (4, 5, True), (5, 5, False), (6, 5, False)],
)
def test_an_event_that_does_not_follow_the_last_one_shows_a_gap(
    last: int, prev: int, lacks: bool
) -> None:
    assert Stream("all", ALL, last=last).lacks_before(event(9, prev=prev)) is lacks


@pytest.mark.parametrize(
    ("last", "prev", "forks"),
    [(0, 5, False), (6, 5, True), (5, 5, False), (6, 0, False), (9, 5, False)],
)
def test_an_event_that_follows_an_older_one_than_the_last_is_a_fork(
    last: int, prev: int, forks: bool
) -> None:
    """An event that was heard already is no fork."""
    assert Stream("all", ALL, last=last).forks_at(event(9, prev=prev)) is forks


@pytest.mark.parametrize(("positions", "at_once"), [(ONE_CLOCK, True), (SeveralClocks(1), False)])
def test_of_a_stream_that_is_apart_the_pod_finds_out_first_where_it_ends(
    positions: Positions, at_once: bool
) -> None:
    streams = Streams(positions)
    stream = streams.of(ALICE)
    streams.hear(stream.name, 3)
    assert stream.confirmed is at_once
    streams.confirm(stream, 4)
    assert stream.confirmed
    assert stream.confirmed_after == 4


def test_what_redis_confirms_after_it_was_given_up_is_nothing() -> None:
    streams = Streams(ONE_CLOCK)
    streams.hear("user:gone", 0)
    assert set(streams.by_name) == {"all", "authenticated"}


def test_what_was_heard_never_goes_back_but_with_the_ids() -> None:
    streams = Streams(ONE_CLOCK)
    streams.hear_up_to(7)
    streams.hear_up_to(5)
    assert streams.heard == 7
    streams.by_name["all"].heard(event(7, prev=0))
    streams.rewind(3)
    assert streams.heard == 3
    assert streams.by_name["all"].last == 0


async def test_streams_that_are_joined_at_once_are_asked_for_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_WANTED_AT_ONCE", 2)
    streams = Streams(ONE_CLOCK)
    for name in "abcde":
        streams.of(topic_audience(name))
    parts = [[stream.name for stream in await streams.wanted()] for _ in range(3)]
    assert parts == [["topic:a", "topic:b"], ["topic:c", "topic:d"], ["topic:e"]]


def test_of_streams_without_members_only_so_many_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that subscribes to ever new topics must not fill the pod's memory."""
    monkeypatch.setattr(module, "_IDLE_MAX", 2)
    streams = Streams(ONE_CLOCK)
    gone = []
    for moment, name in enumerate("abcde"):
        streams.confirm(streams.of(topic_audience(name)), 0)
        gone += streams.prune(["topic:e"], 60, moment)
    assert gone == ["topic:a", "topic:b"]
    assert streams.prune(["topic:e"], 60, 10) == []
    assert streams.prune(["topic:e"], 60, 70) == ["topic:c", "topic:d"]


def test_of_too_many_those_go_that_have_had_no_member_for_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_IDLE_MAX", 2)
    streams = Streams(ONE_CLOCK)
    for name in "abc":
        streams.confirm(streams.of(topic_audience(name)), 0)
    # The first one loses its members last.
    assert streams.prune(["topic:a"], 60, 0) == []
    assert streams.prune([], 60, 1) == []
    assert streams.prune([], 60, 2) == ["topic:b"]


def test_a_stream_is_confirmed_until_the_connection_ends() -> None:
    streams = Streams(ONE_CLOCK)
    streams.of(ALICE)
    assert not streams.is_confirmed(ALICE.stream)
    streams.hear(ALICE.stream, 3)
    assert streams.is_confirmed(ALICE.stream)
    assert not streams.is_confirmed("user:gone")
    streams.end()
    assert not streams.is_confirmed(ALICE.stream)
