"""Bounds what all replays of a pod take together: reads of Redis, and memory for what was read.

A replay first waits for one of a few turns to read. It keeps its turn while it waits for room for
the events that it has read, and gives the room back as the client reads them. So the memory of
replays is bounded by the room and by what the turns have read, however many clients come back. A
replay that waits for room never keeps another one from giving room back. A client that waits too
long is told to fetch its state anew.

Events from the ring take no room, since all clients share them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.delivery.shares import Party, Pool

# Each turn reads a page at a time. So many keep one Redis busy, and Redis' memory for replies stays
# below so many pages for each pod.
_TURNS: Final = 8
# Replies that fit into one write take no room: they leave at once, within the socket's own bound.
FREE_BYTES: Final = 65_536
# When room is short, a client that has been reading its replay for so long is closed. It comes back
# for the rest.
_SLOW_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Taken:
    party: Party
    cost_bytes: int
    began: float


class ReplayRoom:
    """Turns to read Redis, and room for the events that were read.

    Args:
        max_bytes: room for all replays together.
        wait_seconds: how long a replay waits for its turn at most, and again for its room.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._turns = Pool(_TURNS, wait_seconds)
        self._room = Pool(max_bytes, wait_seconds)
        self._taken: dict[Connection, _Taken] = {}

    @property
    def used_bytes(self) -> int:
        """Memory of events that were read and that clients have not taken yet."""
        return self._room.used

    @contextlib.asynccontextmanager
    async def turn(self, party: Party) -> AsyncIterator[None]:
        """Hold a turn to read Redis, while the context lasts.

        Raises:
            Busy: no turn was free in time.
        """
        async with self._turns.part(party, 1):
            yield

    async def take(self, connection: Connection, party: Party, cost_bytes: int) -> None:
        """Take room for the events that were read for a connection; `give_back` it in any case.

        If they need more than the user's whole share, they take that share. The bound on a single
        replay limits the rest.

        Raises:
            Busy: no room was free in time.
        """
        if cost_bytes <= FREE_BYTES:
            return
        cost_bytes = min(cost_bytes, self._room.share(party))
        self._make_way(cost_bytes)
        await self._room.take(party, cost_bytes)
        self._taken[connection] = _Taken(party, cost_bytes, self._clock())

    def keep(self, connection: Connection, cost_bytes: int) -> None:
        """Give back a connection's room, except ``cost_bytes`` of it."""
        taken = self._taken.get(connection)
        if taken is None or taken.cost_bytes <= cost_bytes:
            return
        back = taken.cost_bytes - cost_bytes
        taken.cost_bytes = cost_bytes
        if not cost_bytes:
            del self._taken[connection]
        self._room.give_back(taken.party, back)

    def give_back(self, connection: Connection) -> None:
        """Give back all room of a connection; does nothing if it has none."""
        self.keep(connection, 0)

    def _make_way(self, cost_bytes: int) -> None:
        """Close connections that have been reading their replays for long, until there is room."""
        missing = self._room.used + cost_bytes - self._room.total
        for connection, taken in list(self._taken.items()):  # the oldest first
            if missing <= 0 or self._clock() - taken.began < _SLOW_SECONDS:
                return
            missing -= taken.cost_bytes
            if connection.state is not State.CLOSED:
                connection.close(close_codes.SLOW_CONSUMER)
