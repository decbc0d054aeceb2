"""`clarion_gateway.connections.keepalive.Sweeper`: pings and expiries from one wheel. The test sets
the clock and the random choices.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.identity import ANONYMOUS, Identity
from clarion_gateway.connections.keepalive import Sweeper
from tests.gateway.recorder import Recorder

INTERVAL = 5
GRACE = 10


@dataclass
class Wheel:
    """A sweeper whose time the test sets."""

    now: float = 1_000.0
    slot: int = 0
    sweeper: Sweeper = field(init=False)

    def __post_init__(self) -> None:
        self.sweeper = Sweeper(
            ping_interval_seconds=INTERVAL,
            token_grace_seconds=GRACE,
            clock=lambda: self.now,
            choose=lambda slots: self.slot % slots,
        )

    def add(self, connection: Recorder, slot: int = 0) -> Recorder:
        self.slot = slot
        self.sweeper.add(connection)
        return connection

    def tick(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.now += 1
            self.sweeper.sweep()


def expiring(at: float) -> Recorder:
    connection = Recorder("alice")
    connection.identity = Identity("alice", at)
    return connection


def test_every_connection_is_pinged_once_per_interval() -> None:
    wheel = Wheel()
    connections = [wheel.add(Recorder(), slot) for slot in range(INTERVAL)]
    for seconds in range(1, INTERVAL + 1):
        wheel.tick()
        assert sum(connection.pings for connection in connections) == seconds
    assert [connection.pings for connection in connections] == [1] * INTERVAL


def test_a_client_that_answers_stays() -> None:
    wheel = Wheel()
    connection = wheel.add(Recorder())
    for pings in range(1, 4):
        wheel.tick(INTERVAL)
        assert connection.pings == pings
        connection.awaiting_pong = False  # something came in
    assert connection.closed_with is None


def test_a_client_that_is_silent_until_the_next_ping_is_closed() -> None:
    wheel = Wheel()
    connection = wheel.add(Recorder())
    wheel.tick(INTERVAL)
    assert connection.pings == 1
    wheel.tick(INTERVAL)
    assert connection.closed_with is close_codes.KEEP_ALIVE
    assert connection.pings == 1


def test_a_client_whose_messages_wait_is_not_asked() -> None:
    """Its pongs wait in the kernel behind them."""
    wheel = Wheel()
    connection = wheel.add(Recorder())
    wheel.tick(INTERVAL)
    connection.pause_reading()
    wheel.tick(3 * INTERVAL)
    assert connection.closed_with is None
    assert connection.pings == 1
    assert [message["kind"] for message in connection.messages] == ["ping"] * 3, "it is not deaf"
    connection.resume_reading()
    wheel.tick(INTERVAL)
    assert connection.closed_with is close_codes.KEEP_ALIVE


def test_a_removed_connection_is_left_alone() -> None:
    wheel = Wheel()
    connection = wheel.add(Recorder())
    wheel.sweeper.remove(connection)
    wheel.tick(3 * INTERVAL)
    assert connection.pings == 0


def test_a_connection_that_was_never_added_can_be_removed() -> None:
    Wheel().sweeper.remove(Recorder())


def test_an_expired_token_is_outlived_by_the_grace_and_no_more() -> None:
    wheel = Wheel()
    connection = expiring(wheel.now - GRACE + 2)
    wheel.sweeper.watch_expiry(connection)
    wheel.tick(2)
    assert connection.closed_with is None
    wheel.tick()
    assert connection.closed_with is close_codes.EXPIRED


def test_a_token_that_ends_much_later_is_found_by_the_pings() -> None:
    """No entry is kept for it until the visit before its end."""
    wheel = Wheel()
    connection = expiring(wheel.now + 40)
    wheel.sweeper.watch_expiry(connection)
    assert wheel.sweeper._expiring == {}
    wheel.add(connection)
    while connection.closed_with is None:
        assert wheel.now <= 1_000 + 40 + GRACE + 1
        connection.awaiting_pong = False
        wheel.tick()
    assert connection.closed_with is close_codes.EXPIRED
    assert wheel.now > 1_000 + 40 + GRACE


@pytest.mark.parametrize("slot", range(INTERVAL))
@pytest.mark.parametrize("ends_in", range(3 * INTERVAL))
def test_no_end_falls_between_two_visits(slot: int, ends_in: int) -> None:
    wheel = Wheel()
    connection = expiring(wheel.now + ends_in - GRACE)
    wheel.sweeper.watch_expiry(connection)
    wheel.add(connection, slot)
    for _ in range(ends_in + 1):
        assert connection.closed_with is None
        connection.awaiting_pong = False
        wheel.tick()
    wheel.tick()
    assert connection.closed_with is close_codes.EXPIRED


def test_a_refresh_in_time_keeps_the_connection() -> None:
    wheel = Wheel()
    connection = expiring(wheel.now - GRACE + 2)
    wheel.sweeper.watch_expiry(connection)
    wheel.tick()
    connection.identity = Identity("alice", wheel.now + 3_600)
    wheel.sweeper.watch_expiry(connection)
    wheel.tick(10)
    assert connection.closed_with is None


def test_a_logout_before_the_end_keeps_the_connection() -> None:
    wheel = Wheel()
    connection = expiring(wheel.now - GRACE + 2)
    wheel.sweeper.watch_expiry(connection)
    connection.identity = ANONYMOUS
    wheel.tick(10)
    assert connection.closed_with is None


def test_an_anonymous_connection_never_expires() -> None:
    wheel = Wheel()
    connection = Recorder()
    wheel.sweeper.watch_expiry(connection)
    wheel.tick(3 * INTERVAL)
    assert connection.closed_with is None


async def test_it_ticks_every_second_and_knows_how_late_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a stall, missed ticks are skipped, because pings would come in a burst."""
    sweeper = Sweeper(ping_interval_seconds=INTERVAL, token_grace_seconds=GRACE)
    loop = asyncio.get_running_loop()
    times = iter([100.0, 100.0, 101.0, 101.0, 101.0, 109.5, 109.5, 109.5])
    slept: list[float] = []
    swept: list[float] = []
    monkeypatch.setattr(loop, "time", lambda: next(times))
    monkeypatch.setattr(sweeper, "sweep", lambda: swept.append(sweeper.lag_seconds))

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr("clarion_gateway.connections.keepalive.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await sweeper.run()
    monkeypatch.undo()
    assert slept == [1.0, 1.0, 0.0]
    assert swept == [0.0, 7.5]
