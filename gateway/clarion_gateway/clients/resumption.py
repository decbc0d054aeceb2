"""How a client that comes back catches up: what it missed is collected, sent, and then it is live.

The connection holds events back meanwhile, so that none is lost between the logs and the rounds,
and none is doubled, since ids are merged as a set.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from typing import Final, Protocol

import structlog

from clarion_contract.bus.positions import ONE_CLOCK, Positions
from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Event
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.held import Gap, Item
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery.replay import Replay, merge
from clarion_gateway.delivery.ring import Segment
from clarion_gateway.delivery.rounds import Delivery

# Written at once while a client catches up; then it must take most of it before more follows.
_CHUNK_BYTES: Final = 65_536
# A client that takes nothing for so long while it catches up is a slow consumer.
_STALL_SECONDS: Final = 30.0

Sent = Item | Segment
"""What is written to a client that catches up."""

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
    ) -> list[Sent] | None:
        """What a connection missed after ``since``; None where that cannot be told.

        Args:
            connection: catching up, so that it holds what comes in meanwhile.
            resumes: id of the client's earlier connection, which events may exclude.

        Raises:
            BusUnavailable: Redis does not answer.
            Busy: too many clients come back at the same time.
        """
        if not await self._reaches(since):
            return None
        missed = await self._replay.missed(connection, since)
        if connection.user is not None and not self._positions.exact:
            # The pod's position says nothing of the user's stream: let all that was read of it come
            # in, so that none of it is still to come.
            await self._subscription.refresh()
        if connection.state is State.CLOSED or not missed.whole:
            return None
        held = _take(connection)
        came_in = [item for item in held if not isinstance(item, Gap)]
        position = self._delivery.position
        has_gaps = len(came_in) < len(held)
        events = [
            item
            for item in merge(missed, came_in, position, self._positions, apart=has_gaps)
            if isinstance(item, Segment)
            or ((item.exclude is None or item.exclude != resumes) and connection.receives(item))
        ]
        # A loss before ``since`` was found, and told, by another pod: else none leads past it.
        items = [
            item
            for item in held
            if not isinstance(item, Gap) or item.position >= missed.shared_since
        ]
        return self._with_gaps(events, items)

    async def send(self, connection: Connection, items: Sequence[Sent]) -> None:
        """Send what was missed and what came in meanwhile, then go live: none lost, none doubled.

        Each write waits for the client, so a slow one costs the pod no more than its held events,
        whose number `clarion_gateway.delivery.fanout.hold` bounds. Never raises.
        """
        written = 0
        try:
            while items and connection.state is State.CATCHING_UP:
                written = await self._write(connection, deque(items), written)
                items = _take(connection)
        except TimeoutError:
            connection.close(close_codes.SLOW_CONSUMER)
        except Exception:  # noqa: BLE001 - the edge: one socket's bug must not end the others
            _log.exception("catching up failed", connection=connection.id)
            connection.close(close_codes.INTERNAL_ERROR)
        if connection.state is State.CATCHING_UP:
            self._hub.go_live(connection)

    def end(self, connection: Connection) -> None:
        """A connection has caught up, or never will: others may."""
        self._replay.room.give_back(connection)

    async def _write(self, connection: Connection, items: deque[Sent], written: int) -> int:
        """Write items as fast as the client takes them, and forget them, until it has all or is
        gone; returns the highest id that it has been told.

        Args:
            written: the highest id before. No gap leads below it, since a client comes back from
                the last id that it is told.
        """
        wire_format = connection.format
        left_bytes = sum(_cost(item) for item in items)
        while items and connection.state is State.CATCHING_UP:
            chunk: list[bytes] = []
            size_bytes = 0
            while items and size_bytes < _CHUNK_BYTES:
                if isinstance(items[0], Segment) and chunk:
                    break  # it is written alone: all clients share its bytes
                item = items.popleft()
                left_bytes -= _cost(item)
                if isinstance(item, Segment):
                    written = max(written, item.last)
                    chunk.append(item.encoded(wire_format))
                    break
                if isinstance(item, Gap):
                    written = max(written, item.position)
                    frame = wire_format.gap(written)
                else:
                    written = max(written, item.id)
                    frame = wire_format.event(item)
                chunk.append(frame)
                size_bytes += len(frame)
            connection.write(b"".join(chunk))
            await _drained(connection)
            self._replay.room.keep(connection, left_bytes)
            if items:  # a client that takes all at once must not keep the loop for all of it
                await asyncio.sleep(0)
        return written

    def _with_gaps(self, events: Sequence[Event | Segment], held: Sequence[Item]) -> list[Sent]:
        """Events, and each gap among those held before what lies, or came in, after it."""
        items: list[Sent] = list(events)
        for index, gap in enumerate(held):
            if isinstance(gap, Gap):
                later = {item.id for item in held[index:] if not isinstance(item, Gap)}
                place = next(
                    (place for place, item in enumerate(items) if self._follows(item, gap, later)),
                    len(items),
                )
                items.insert(place, gap)
        return items

    def _follows(self, item: Sent, gap: Gap, later: Collection[int]) -> bool:
        if isinstance(item, Gap | Segment):  # where there is a gap, there are no segments
            return False
        apart = self._positions.is_apart(item.audience.stream)
        return item.id in later or (item.id > gap.position and not apart)

    async def _reaches(self, since: int) -> bool:
        """Whether a client's position is one that the bus has come to."""
        since = self._positions.shared_since(since)
        if since > self._delivery.position:  # another pod was ahead by a moment
            await self._subscription.refresh()
        return since <= self._delivery.position


def tell_gap(hub: Hub, audiences: Collection[Audience], position: int) -> None:
    """Tell those whom an audience takes in that events at or below a position are lost."""
    streams = {audience.stream for audience in audiences}
    for connection in list(hub.connections):
        if not streams.isdisjoint((*connection.shared_streams, *connection.named_streams)):
            if connection.state is State.LIVE:
                connection.write(connection.format.gap(position))
            elif connection.held is not None:  # in its place among what it still has to hear
                connection.held.add([Gap(position)])


def _take(connection: Connection) -> list[Item]:
    return [] if connection.held is None else connection.held.take()


def _cost(item: Sent) -> int:
    """Memory that an item takes for this client alone."""
    return item.cost_bytes if isinstance(item, Event) else 0


async def _drained(connection: Connection) -> None:
    async with asyncio.timeout(_STALL_SECONDS):
        await connection.socket.drained()
