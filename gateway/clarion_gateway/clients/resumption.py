"""How a client that comes back catches up: what it missed is collected, sent, and then it is live.

The connection holds events back meanwhile, so that none is lost between the logs and the rounds,
and none is doubled, since ids are merged as a set.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Final, Protocol

import structlog

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Event
from clarion_contract.events.positions import ONE_CLOCK, Positions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery.fanout import is_for
from clarion_gateway.delivery.replay import Replay, merge
from clarion_gateway.delivery.rounds import Delivery

# Written at once while a client catches up; then it must take most of it before more follows.
_CHUNK_BYTES: Final = 65_536
# A client that takes nothing for so long while it catches up is a slow consumer.
_STALL_SECONDS: Final = 30.0

_by_id: Final = attrgetter("id")

_log = structlog.get_logger(__name__)


class Refreshing(Protocol):
    """What resumption needs of `clarion_gateway.bus.subscription.Subscription`."""

    async def refresh(self) -> None:
        """Return when everything that was published before the call has been delivered."""
        ...


class Resumption:
    """Leads connections from the position that a client names to the pod's own."""

    def __init__(
        self,
        hub: Hub,
        subscription: Refreshing,
        delivery: Delivery,
        replay: Replay,
        positions: Positions = ONE_CLOCK,
    ) -> None:
        self._hub = hub
        self._subscription = subscription
        self._delivery = delivery
        self._replay = replay
        self._positions = positions

    async def collect(
        self, connection: Connection, since: int, resumes: str | None
    ) -> list[Event] | None:
        """What a connection missed after ``since``; None where that cannot be told.

        Args:
            connection: catching up, so that it holds what comes in meanwhile.
            resumes: id of the client's earlier connection, which events may exclude.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        if not await self._reaches(since):
            return None
        missed = await self._replay.missed(connection.user, since)
        if connection.user is not None and not self._positions.exact:
            # The pod's position says nothing of the user's stream: let all that was read of it come
            # in, so that none of it is still to come.
            await self._subscription.refresh()
        if connection.state is State.CLOSED or not missed.whole:
            return None
        held, connection.held = connection.held or [], []
        # A loss before ``since`` was found, and told, by another pod: else none leads past it.
        connection.untold_gaps = tuple(
            gap for gap in connection.untold_gaps if gap >= missed.shared_since
        )
        return [
            event
            for event in merge(missed, held, self._delivery.position, self._positions)
            if (event.exclude is None or event.exclude != resumes)
            and is_for(connection, event, self._hub)
        ]

    async def send(self, connection: Connection, events: list[Event]) -> None:
        """Send what was missed and what came in meanwhile, then go live: none lost, none doubled.

        Each write waits for the client, so a slow one costs the pod no more than its held events,
        whose number `clarion_gateway.delivery.fanout.hold` bounds. Never raises.
        """
        try:
            while events and connection.state is State.CATCHING_UP:
                await _write(connection, events)
                events, connection.held = connection.held or [], []
        except TimeoutError:
            connection.close(close_codes.SLOW_CONSUMER)
        except Exception:  # noqa: BLE001 - the edge: one socket's bug must not end the others
            _log.exception("catching up failed", connection=connection.id)
            connection.close(close_codes.INTERNAL_ERROR)
        if connection.state is State.CATCHING_UP:
            if connection.untold_gaps:
                # Not below what was written since: a client comes back from the last id it is told.
                position = max(*connection.untold_gaps, self._delivery.position)
                connection.write(connection.encoder.gap(position))
                connection.untold_gaps = ()
            self._hub.go_live(connection)

    async def _reaches(self, since: int) -> bool:
        """Whether a client's position is one that the bus has come to."""
        since = self._positions.shared_since(since)
        if since > self._delivery.position:  # another pod was ahead by a moment
            await self._subscription.refresh()
        return since <= self._delivery.position


def tell_gap(hub: Hub, audiences: Collection[Audience], position: int) -> None:
    """Tell those whom an audience takes in that events at or below a position are lost."""
    for connection in list(hub.connections):
        if any(hub.receives(connection, audience) for audience in audiences):
            if connection.state is State.LIVE:
                connection.write(connection.encoder.gap(position))
            else:  # in its place among what it still has to hear
                connection.untold_gaps += (position,)


async def _write(connection: Connection, events: Sequence[Event]) -> None:
    """Write events, and each gap that lies before some of them in its place: see `Subscription`."""
    written = 0
    while connection.untold_gaps:
        gap = connection.untold_gaps[0]
        later = bisect_right(events, gap, key=_by_id)
        if later == len(events):
            break
        await _write_chunks(connection, events[written:later])
        connection.untold_gaps = connection.untold_gaps[1:]
        connection.write(connection.encoder.gap(gap))
        written = later
    await _write_chunks(connection, events[written:])


async def _write_chunks(connection: Connection, events: Sequence[Event]) -> None:
    """Write events as fast as the client takes them."""
    chunk: list[bytes] = []
    size_bytes = 0
    for event in events:
        frame = connection.encoder.event(event)
        chunk.append(frame)
        size_bytes += len(frame)
        if size_bytes >= _CHUNK_BYTES:
            connection.write(b"".join(chunk))
            chunk, size_bytes = [], 0
            await _drained(connection)
    if chunk:
        connection.write(b"".join(chunk))
        await _drained(connection)


async def _drained(connection: Connection) -> None:
    async with asyncio.timeout(_STALL_SECONDS):
        await connection.drained()
