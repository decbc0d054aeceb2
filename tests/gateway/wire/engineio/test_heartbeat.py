"""`clarion_gateway.wire.engineio.heartbeat`: any order of beats and pongs, on the test's clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clarion_gateway.wire.engineio.heartbeat import Beat, Heartbeat, Timing

TIMING = Timing(interval_seconds=25, timeout_seconds=20)


def heartbeat(now: float = 0) -> Heartbeat:
    return Heartbeat(TIMING, now, choose=lambda: 0)


def test_a_ping_goes_out_after_the_interval_and_the_next_one_after_the_pong() -> None:
    beats = heartbeat()
    assert beats.beat(24.9) is Beat.NOTHING
    assert beats.beat(25) is Beat.PING
    assert beats.beat(44.9) is Beat.NOTHING
    assert beats.pong(30)
    assert beats.due_at == 55
    assert beats.beat(54.9) is Beat.NOTHING
    assert beats.beat(55) is Beat.PING


def test_a_client_that_does_not_answer_is_given_up_after_the_timeout() -> None:
    beats = heartbeat()
    assert beats.beat(25) is Beat.PING
    assert beats.due_at == 45
    assert beats.beat(45) is Beat.GIVE_UP


def test_a_pong_behind_messages_that_are_not_read_yet_is_waited_for() -> None:
    beats = heartbeat()
    assert beats.beat(25) is Beat.PING
    assert beats.beat(45, is_reading=False) is Beat.PING, "the client must hear that all is well"
    assert beats.pong(46)
    assert beats.beat(71) is Beat.PING


def test_a_pong_that_no_ping_asked_for_changes_nothing() -> None:
    beats = heartbeat()
    assert not beats.pong(10)
    assert beats.due_at == 25


@given(st.floats(0, 1))
def test_first_pings_are_spread_and_never_late(chosen: float) -> None:
    beats = Heartbeat(TIMING, 100, choose=lambda: chosen)
    assert 120 <= beats.due_at <= 125


@given(st.lists(st.tuples(st.floats(0, 60), st.booleans(), st.booleans()), max_size=30))
def test_clients_that_answer_in_time_are_never_given_up(
    steps: list[tuple[float, bool, bool]],
) -> None:
    """And no two pings go out without a pong between them while the server reads."""
    now, beats, asked_at = 0.0, heartbeat(), None
    for seconds, answers, is_reading in steps:
        now += seconds
        beat = beats.beat(now, is_reading=is_reading)
        if beat is Beat.GIVE_UP:
            assert asked_at is not None
            assert now - asked_at >= TIMING.timeout_seconds
            return
        if beat is Beat.PING:
            assert asked_at is None or not is_reading
            asked_at = now
        if answers:
            assert beats.pong(now) is (asked_at is not None)
            asked_at = None
        assert beats.due_at > now
        assert beats.due_at <= now + TIMING.interval_seconds
