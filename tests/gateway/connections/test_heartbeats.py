"""`clarion_gateway.connections.heartbeats`: sessions are called when they are due, on a loop whose
time the test sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from clarion_gateway.connections.heartbeats import Heartbeats
from clarion_gateway.wire.engineio.heartbeat import Timing
from tests.gateway.clockwork import ClockworkLoop

SHORT = Timing(0.3, 0.2)


@pytest.fixture
def loop() -> Iterator[ClockworkLoop]:
    loop = ClockworkLoop()
    yield loop
    loop.close()


class Session:
    """Notes when it was called, and says what the test says."""

    def __init__(self, answer: Callable[[float], float | None]) -> None:
        self.slot = -1
        self.answer = answer
        self.called: list[float] = []

    def beat(self, now: float) -> float | None:
        self.called.append(now)
        return self.answer(now)


def run(loop: ClockworkLoop, seconds: float, begin: Callable[[], None]) -> None:
    async def wait() -> None:
        begin()
        while loop.time() < seconds:
            handle = loop.create_future()
            loop.call_later(0.001, handle.set_result, None)
            await handle

    loop.run_until_complete(wait())


def test_a_session_is_called_within_a_tick_after_it_is_due(loop: ClockworkLoop) -> None:
    heartbeats = Heartbeats(SHORT)
    session = Session(lambda now: now + 0.3)
    run(loop, 3, lambda: heartbeats.add(session, 0.25))
    assert session.called[0] >= 0.25
    assert session.called[0] <= 0.25 + 3 * heartbeats.tick_seconds
    waits = [
        after - before for before, after in zip(session.called, session.called[1:], strict=False)
    ]
    assert len(waits) >= 6
    assert all(0.3 - 1e-9 <= each <= 0.3 + 3 * heartbeats.tick_seconds for each in waits)


def test_one_that_is_done_or_removed_is_never_called_again(loop: ClockworkLoop) -> None:
    heartbeats = Heartbeats(SHORT)
    done, removed = Session(lambda now: None), Session(lambda now: now + 0.3)

    def begin() -> None:
        heartbeats.add(done, 0.1)
        heartbeats.add(removed, 0.1)
        heartbeats.remove(removed)
        heartbeats.remove(removed)

    run(loop, 2, begin)
    assert (len(done.called), removed.called, len(heartbeats)) == (1, [], 0)


def test_the_timer_rests_while_there_is_no_session(loop: ClockworkLoop) -> None:
    """And goes on with the next one."""
    heartbeats = Heartbeats(SHORT)
    first, second = Session(lambda now: None), Session(lambda now: None)
    run(loop, 1, lambda: heartbeats.add(first, 0.1))
    run(loop, 101, lambda: heartbeats.add(second, loop.time() + 0.1))
    assert len(second.called) == 1
    assert second.called[0] <= first.called[0] + 2


def test_ends_of_other_sessions_during_a_tick_are_noticed(loop: ClockworkLoop) -> None:
    heartbeats = Heartbeats(SHORT)
    second = Session(lambda now: None)

    def end_the_other(now: float) -> None:
        heartbeats.remove(second)

    first = Session(end_the_other)

    def begin() -> None:
        heartbeats.add(first, 0.1)
        heartbeats.add(second, 0.1)

    run(loop, 1, begin)
    assert (len(first.called), second.called) == (1, [])


def test_a_bug_of_one_session_costs_no_other(loop: ClockworkLoop) -> None:
    heartbeats = Heartbeats(SHORT)

    def fail(now: float) -> float:
        raise ZeroDivisionError

    broken, sound = Session(fail), Session(lambda now: now + 0.3)

    def begin() -> None:
        heartbeats.add(broken, 0.1)
        heartbeats.add(sound, 0.1)

    run(loop, 2, begin)
    assert len(sound.called) >= 5


def test_after_a_stall_what_clients_have_sent_is_read_first(loop: ClockworkLoop) -> None:
    heartbeats = Heartbeats(SHORT)
    order: list[str] = []

    def note(now: float) -> None:
        order.append("beat")

    session = Session(note)

    def begin() -> None:
        heartbeats.add(session, 0.2)
        loop.now += 5  # nothing ran meanwhile
        loop.call_later(0.0005, order.append, "pong")  # as the loop would read it

    run(loop, 8, begin)
    assert order == ["pong", "beat"]


def test_ticks_are_as_fine_as_the_times_ask_for() -> None:
    assert Heartbeats(Timing(25, 20)).tick_seconds == 1
    assert Heartbeats(SHORT).tick_seconds == 0.01
