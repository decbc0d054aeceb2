"""Bounds what all replays of a pod take together: reads of Redis, and the memory of what was read.

A replay first waits for one of a few turns to read. Then, its turn still kept, it waits for room
for what it has read, which it gives back as the client takes it. So the pod holds no more than the
room and what the turns have read, however many clients come back, and no replay that waits for room
keeps another from giving room back. A client that waits too long fetches its state anew instead.

Events from the ring take no room: all clients share them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection, State

# Each reads a page at a time: enough to keep one Redis busy, and its memory for replies stays at as
# many pages for each pod.
_TURNS: Final = 8
# Replies that fit into one write take no room: they leave at once, within the socket's own bound.
FREE_BYTES: Final = 65_536
# How much of the turns and of the room one user's connections, or all anonymous ones, may take:
# others have the rest.
_USER_SHARE: Final = 1 / 4
_ANONYMOUS_SHARE: Final = 3 / 4
# Once room is short, a client that has taken so long makes way. It comes back for the rest.
_SLOW_SECONDS: Final = 10.0


class Busy(Exception):
    """Too many replays are under way: there was no turn, or no room, in time."""


@dataclass(slots=True, eq=False)
class _Waiter:
    user: str | None
    amount: int
    granted: asyncio.Future[None]


class _Pool:
    """An amount that users take parts of, each up to a share, in the order in which they ask."""

    def __init__(self, total: int, wait_seconds: float) -> None:
        self.total = total
        self.used = 0
        self._wait_seconds = wait_seconds
        self._used_by: Counter[str | None] = Counter()
        self._waiters: deque[_Waiter] = deque()

    def share(self, user: str | None) -> int:
        return int(self.total * (_ANONYMOUS_SHARE if user is None else _USER_SHARE))

    async def take(self, user: str | None, amount: int) -> None:
        """Wait for an amount; `give_back` it later.

        Raises:
            Busy: it was not free in time, and is not taken.
        """
        waiter = _Waiter(user, amount, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._grant()
        try:
            if not waiter.granted.done():
                async with asyncio.timeout(self._wait_seconds):
                    await waiter.granted
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._grant()  # those behind it
            else:
                self.give_back(user, amount)
            if isinstance(error, TimeoutError):
                raise Busy from None
            raise

    def give_back(self, user: str | None, amount: int) -> None:
        self.used -= amount
        self._used_by[user] -= amount
        if not self._used_by[user]:
            del self._used_by[user]
        self._grant()

    def _grant(self) -> None:
        """Serve those who wait, in order. A user without a share left keeps nobody else back."""
        for waiter in list(self._waiters):
            if waiter.granted.done():  # cancelled
                continue
            if self._used_by[waiter.user] + waiter.amount > self.share(waiter.user):
                continue
            if self.used + waiter.amount > self.total:
                return
            self._waiters.remove(waiter)
            self.used += waiter.amount
            self._used_by[waiter.user] += waiter.amount
            waiter.granted.set_result(None)


@dataclass(slots=True)
class _Taken:
    user: str | None  # as it was: a connection may change it meanwhile
    cost_bytes: int
    began: float


class ReplayRoom:
    """Turns to read Redis, and room for what was read.

    Args:
        max_bytes: of room, for all replays together.
        wait_seconds: the longest that a replay waits for its turn, and again for its room.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._turns = _Pool(_TURNS, wait_seconds)
        self._room = _Pool(max_bytes, wait_seconds)
        self._taken: dict[Connection, _Taken] = {}

    @property
    def used_bytes(self) -> int:
        """Memory of what was read and not taken by clients yet."""
        return self._room.used

    @contextlib.asynccontextmanager
    async def turn(self, user: str | None) -> AsyncIterator[None]:
        """A turn to read Redis for a user, or for an anonymous client.

        Raises:
            Busy: none was free in time.
        """
        await self._turns.take(user, 1)
        try:
            yield
        finally:
            self._turns.give_back(user, 1)

    async def take(self, connection: Connection, cost_bytes: int) -> None:
        """Take room for what was read for a connection; `give_back` it in any case.

        More than a share of the room counts as that share: the bound on one replay holds it.

        Raises:
            Busy: there was none in time.
        """
        if cost_bytes <= FREE_BYTES:
            return
        user = connection.user
        cost_bytes = min(cost_bytes, self._room.share(user))
        self._make_way(cost_bytes)
        await self._room.take(user, cost_bytes)
        self._taken[connection] = _Taken(user, cost_bytes, self._clock())

    def keep(self, connection: Connection, cost_bytes: int) -> None:
        """Give back all room of a connection but ``cost_bytes``."""
        taken = self._taken.get(connection)
        if taken is None or taken.cost_bytes <= cost_bytes:
            return
        back = taken.cost_bytes - cost_bytes
        taken.cost_bytes = cost_bytes
        if not cost_bytes:
            del self._taken[connection]
        self._room.give_back(taken.user, back)

    def give_back(self, connection: Connection) -> None:
        """The connection's replay has ended, or never began."""
        self.keep(connection, 0)

    def _make_way(self, cost_bytes: int) -> None:
        """Close those that have been taking their replays for long, until there is room."""
        missing = self._room.used + cost_bytes - self._room.total
        for connection, taken in list(self._taken.items()):  # the oldest first
            if missing <= 0 or self._clock() - taken.began < _SLOW_SECONDS:
                return
            missing -= taken.cost_bytes
            if connection.state is not State.CLOSED:
                connection.close(close_codes.SLOW_CONSUMER)
