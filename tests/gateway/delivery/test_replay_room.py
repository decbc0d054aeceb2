"""`clarion_gateway.delivery.replay_room`: what all replays take together is bounded, and shared out."""

from __future__ import annotations

import asyncio

import pytest

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.identity import Identity
from clarion_gateway.delivery.replay_room import ReplayRoom
from clarion_gateway.delivery.shares import Busy, Party
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.recorder import Recorder

MIB = 1 << 20
WAIT_SECONDS = 5


class Replays:
    """A room of 8 MiB, and clients that ask for some of it."""

    def __init__(self, loop: ClockworkLoop) -> None:
        self.loop = loop
        self.room = ReplayRoom(max_bytes=8 * MIB, wait_seconds=WAIT_SECONDS, clock=loop.time)
        self.reading: list[str | None] = []
        self.busy = 0

    def take(self, user: str | None, size_bytes: int) -> tuple[Recorder, asyncio.Task[None]]:
        connection = Recorder(user)
        task = self.loop.create_task(self._take(connection, size_bytes))
        self.loop.settle()
        return connection, task

    def read(
        self, user: str | None, done: asyncio.Event, address: str | None = None
    ) -> asyncio.Task[None]:
        task = self.loop.create_task(self._read(Party(user, address), done))
        self.loop.settle()
        return task

    async def _take(self, connection: Recorder, size_bytes: int) -> None:
        try:
            await self.room.take(connection, Party(connection.user), size_bytes)
        except Busy:
            self.busy += 1

    async def _read(self, party: Party, done: asyncio.Event) -> None:
        name = party.user or party.address
        try:
            async with self.room.turn(party):
                self.reading.append(name)
                await done.wait()
                self.reading.remove(name)
        except Busy:
            self.busy += 1


@pytest.fixture
def replays(loop: ClockworkLoop) -> Replays:
    return Replays(loop)


def test_only_some_read_at_the_same_time_and_nobody_takes_all_turns(replays: Replays) -> None:
    done = asyncio.Event()
    for user in [None] * 9 + ["alice"] * 9 + ["bob"] * 9:
        replays.read(user, done)
    assert replays.reading == [None] * 6 + ["alice"] * 2
    done.set()
    replays.loop.settle()
    assert (replays.reading, replays.busy) == ([], 0)


def test_no_address_takes_the_turns_of_other_anonymous_clients(replays: Replays) -> None:
    done = asyncio.Event()
    for address in ["192.0.2.6"] * 9 + ["192.0.2.7"] * 9 + ["192.0.2.8"] * 9 + ["192.0.2.9"] * 9:
        replays.read(None, done, address)
    replays.read("alice", done, "192.0.2.6")
    assert replays.reading == ["192.0.2.6"] * 2 + ["192.0.2.7"] * 2 + ["192.0.2.8"] * 2 + ["alice"]
    done.set()
    replays.loop.settle()
    assert (replays.reading, replays.busy) == ([], 0)


def test_a_reader_that_gets_no_turn_is_told_in_time(replays: Replays) -> None:
    done = asyncio.Event()
    for _ in range(9):
        replays.read(None, done)
    replays.loop.advance(WAIT_SECONDS - 1)
    assert replays.busy == 0
    replays.loop.advance(2)
    assert replays.busy == 3
    replays.read("alice", done)
    assert replays.reading == [None] * 6 + ["alice"]


def test_room_is_bounded_and_goes_on_to_the_next(replays: Replays) -> None:
    users = ["alice", "bob", "carol", "dave", "erin"]
    taken = [replays.take(user, 2 * MIB) for user in users]
    assert [task.done() for _, task in taken] == [True] * 4 + [False]
    assert replays.room.used_bytes == 8 * MIB
    replays.room.keep(taken[1][0], MIB)
    replays.loop.settle()
    assert not taken[4][1].done()
    replays.room.give_back(taken[0][0])
    replays.loop.settle()
    assert taken[4][1].done()
    for connection, _ in taken:
        replays.room.give_back(connection)
        replays.room.give_back(connection)
    assert (replays.room.used_bytes, replays.busy) == (0, 0)


def test_nobody_overtakes_one_that_waits_for_much(replays: Replays) -> None:
    for user in ("alice", "bob", "carol"):
        replays.take(user, 2 * MIB)
    replays.take("dave", MIB)
    _, much = replays.take("erin", 2 * MIB)
    others = [replays.take(user, MIB) for user in ("frank", "gina", "harry")]
    assert not much.done()
    assert not any(task.done() for _, task in others)


def test_one_users_replays_leave_room_for_others(replays: Replays) -> None:
    taken = [replays.take("alice", MIB) for _ in range(9)]
    taken += [replays.take(None, 5 * MIB // 2) for _ in range(9)]
    assert replays.take("bob", 100_000)[1].done()
    assert [task.done() for _, task in taken[:9]] == [True] * 2 + [False] * 7
    replays.loop.advance(WAIT_SECONDS + 1)
    assert replays.busy == 7 + 7
    for connection, _ in taken:
        replays.room.give_back(connection)
    assert replays.room.used_bytes == 100_000


def test_what_is_written_at_once_takes_no_room(replays: Replays) -> None:
    for _ in range(500):
        assert replays.take("alice", 65_536)[1].done()
    assert replays.room.used_bytes == 0


def test_more_than_a_share_is_let_in_where_nobody_else_is(replays: Replays) -> None:
    connection, task = replays.take("alice", 100 * MIB)
    assert task.done()
    replays.room.give_back(connection)
    assert replays.room.used_bytes == 0


@pytest.mark.parametrize("granted_too", [False, True])
def test_a_waiter_that_stops_waiting_takes_nothing(replays: Replays, granted_too: bool) -> None:
    first, _ = replays.take("alice", 2 * MIB)
    second, task = replays.take("alice", 2 * MIB)
    third, _ = replays.take("alice", MIB)
    if granted_too:
        replays.room.give_back(first)
    task.cancel()
    replays.loop.settle()
    for connection in (first, second, third):
        replays.room.give_back(connection)
    replays.loop.settle()
    replays.room.give_back(third)
    assert replays.room.used_bytes == 0


def test_a_client_that_logs_in_meanwhile_gives_back_what_it_took(replays: Replays) -> None:
    connection, _ = replays.take(None, 6 * MIB)
    connection.identity = Identity("alice")
    replays.room.give_back(connection)
    assert replays.take(None, 6 * MIB)[1].done()


def test_slow_clients_make_way_once_room_is_short(replays: Replays) -> None:
    replays.loop.advance(60)
    slow = [replays.take(user, 2 * MIB)[0] for user in ("alice", "bob", "carol")]
    replays.loop.advance(9)
    quick, _ = replays.take("dave", 2 * MIB)
    replays.take("erin", MIB)
    assert [each.closed_with for each in (*slow, quick)] == [None] * 4
    replays.loop.advance(2)
    replays.take("frank", 2 * MIB)
    assert [each.closed_with for each in slow] == [close_codes.SLOW_CONSUMER, None, None]
    assert quick.closed_with is None
