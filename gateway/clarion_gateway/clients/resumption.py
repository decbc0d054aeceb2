"""Lets a client that comes back catch up: collects what it missed, sends it, and makes it live.

Admission calls it for a client that names a position. Meanwhile the connection holds new events
back. So no event is lost between the logs and the rounds, and none comes twice, since both are
merged by id.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from clarion_contract.bus.positions import ONE_CLOCK, Positions
from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Event
from clarion_contract.events.exclusion import names_in
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.held import Gap, Item
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery.missed import Missed, key, merge
from clarion_gateway.delivery.replay import Replay
from clarion_gateway.delivery.ring import Segment
from clarion_gateway.delivery.rounds import Delivery

# The most that is written at once to a client that catches up. More follows once it has read most
# of that.
_CHUNK_BYTES: Final = 65_536
# A client that catches up and reads nothing for so long is closed as a slow consumer.
_STALL_SECONDS: Final = 30.0

Sent = Item | Segment
"""Anything that is written to a client that catches up: an event, a gap, a segment."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Collected:
    """The items that a client missed.

    Attributes:
        items: to be sent to it, in order.
        not_resumed: topics whose history does not reach back to its position.
    """

    items: list[Sent]
    not_resumed: Sequence[str] = ()


class Refreshing(Protocol):
    """The part of `clarion_gateway.bus.subscription.Subscription` that resumption uses."""

    async def refresh(self) -> None:
        """Return when everything that was published before the call has been delivered."""
        ...


class Resumption:
    """Brings connections from the position that a client names up to the pod's own.

    Args:
        at_once_bytes: memory of events that a client may get without being waited for, at most.
    """

    def __init__(
        self,
        hub: Hub,
        subscription: Refreshing,
        delivery: Delivery,
        replay: Replay,
        positions: Positions = ONE_CLOCK,
        *,
        at_once_bytes: int = _CHUNK_BYTES,
    ) -> None:
        self._hub = hub
        self._subscription = subscription
        self._delivery = delivery
        self._replay = replay
        self._positions = positions
        self._at_once_bytes = min(at_once_bytes, _CHUNK_BYTES)

    async def collect(
        self, connection: Connection, since: int, resumes: str | None, address: str | None = None
    ) -> Collected | None:
        """Collect what a connection missed after ``since``; None if that is not known in full.

        Args:
            connection: in the state of catching up, so that it holds new events back.
            since: the position that the client named.
            resumes: id of the client's earlier connection, which events may exclude.
            address: where the client is.

        Raises:
            BusUnavailable: Redis does not answer.
            Busy: too many clients come back at the same time.
        """
        if self._is_ahead(since):  # the client's earlier pod may have been ahead a little
            await self._subscription.refresh()
            if self._is_ahead(since):  # of another data set
                return None
        missed = await self._replay.missed(connection, since, address)
        is_ahead = missed.newest_piece > self._delivery.position
        if is_ahead or (connection.named_streams and not self._positions.exact):
            # The pod's position says nothing about streams that are apart. Wait until everything
            # that was read from their logs has come in by subscription too. So also for a growing
            # text that was read ahead of the pod: it holds pieces that the pod has delivered.
            await self._subscription.refresh()
        return self.collected(connection, missed, resumes)

    async def glance(self, clients: Sequence[tuple[Connection, int]]) -> list[Missed | None]:
        """Read what several clients missed, for `collected`; never raises.

        Args:
            clients: each with the position that it named. They hold new events back.

        Returns:
            For each client what it missed. None: that needs `collect`.
        """
        found = await self._replay.glance(clients)
        if not self._positions.exact:  # as in `collect`
            await self._subscription.refresh()
        return [
            None if self._is_ahead(since) else missed
            for (_, since), missed in zip(clients, found, strict=True)
        ]

    def collected(
        self, connection: Connection, missed: Missed, resumes: str | None
    ) -> Collected | None:
        """Join what a connection missed with what it holds; None: it is not known in full.

        Write it before anything else comes in.

        Args:
            resumes: see `collect`.
        """
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
            or (connection.receives(item) and not _was_left_out(item, resumes))
        ]
        # Gaps below ``since`` are left out. The client got that position from a pod that had told
        # it of the loss: no position above a loss reaches a client before the gap does.
        items = [
            item
            for item in held
            if not isinstance(item, Gap) or item.position >= missed.shared_since
        ]
        names = [audience.name for audience in missed.not_resumed]
        return Collected(self._with_gaps(events, items), names)

    def send_at_once(self, connection: Connection, items: Sequence[Sent]) -> bool:
        """Send what was missed if it is short, and make the connection live.

        Call it in the same step as `collected`: nothing else has come in since.

        Returns:
            False: it is too much. Nothing was sent, and `send` has to send it.
        """
        size_bytes = sum(0 if isinstance(item, Gap) else item.cost_bytes for item in items)
        if size_bytes > self._at_once_bytes:
            return False
        written, left = 0, deque(items)
        while left:
            written, _ = self._write_chunk(connection, left, written)
        self._hub.go_live(connection)
        return True

    async def send(self, connection: Connection, items: Sequence[Sent]) -> None:
        """Send what was missed and what came in meanwhile, each event once; then go live.

        Each write waits for the client. So a slow client costs the pod no more than its held
        events, whose number `clarion_gateway.delivery.fanout.hold` bounds. Never raises.

        Args:
            items: from `collect`.
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
        """Give back the room of a connection that has caught up, or that never will."""
        self._replay.room.give_back(connection)

    async def _write(self, connection: Connection, items: deque[Sent], written: int) -> int:
        """Write items as fast as the client reads them, until it has all of them or is gone.

        Each item is dropped once it is written.

        Args:
            written: the highest id that the client was told before. A gap names no lower id, since
                the client resumes from the last id that it was told.

        Returns:
            The highest id that the client has been told.
        """
        left_bytes = sum(_cost(item) for item in items)
        while items and connection.state is State.CATCHING_UP:
            written, cost_bytes = self._write_chunk(connection, items, written)
            left_bytes -= cost_bytes
            await _drained(connection)
            self._replay.room.keep(connection, left_bytes)
            if items:  # a fast client must not keep the event loop busy until it has everything
                await asyncio.sleep(0)
        return written

    def _write_chunk(
        self, connection: Connection, items: deque[Sent], written: int
    ) -> tuple[int, int]:
        """Write the first items; takes them out.

        Args:
            written: see `_write`.

        Returns:
            The highest id that the client has been told, and the memory of the items for this
            client alone.
        """
        wire_format = connection.format
        first = items[0]
        if isinstance(first, Segment):
            items.popleft()
            # It is written alone, since its bytes are the ring's: they are kept, and written to
            # others, too.
            self._hub.outbound.shared = first.encoded(wire_format)
            connection.write(self._hub.outbound.shared)
            self._hub.outbound.shared = None
            return max(written, first.last), 0
        chunk: list[bytes] = []
        size_bytes = cost_bytes = 0
        while items and size_bytes < _CHUNK_BYTES and not isinstance(item := items[0], Segment):
            items.popleft()
            cost_bytes += _cost(item)
            if isinstance(item, Gap):
                written = max(written, item.position)
                frame = wire_format.gap(written)
            else:
                written = max(written, item.id)
                frame = wire_format.event(item)
            chunk.append(frame)
            size_bytes += len(frame)
        connection.write(chunk[0] if len(chunk) == 1 else b"".join(chunk))
        return written, cost_bytes

    def _with_gaps(self, events: Sequence[Event | Segment], held: Sequence[Item]) -> list[Sent]:
        """Put each gap that was held before the events that lie after it, or came in after it."""
        items: list[Sent] = list(events)
        for index, gap in enumerate(held):
            if isinstance(gap, Gap):
                later = {key(item) for item in held[index:] if not isinstance(item, Gap)}
                place = next(
                    (place for place, item in enumerate(items) if self._follows(item, gap, later)),
                    len(items),
                )
                items.insert(place, gap)
        return items

    def _follows(self, item: Sent, gap: Gap, later: Collection[tuple[int, str]]) -> bool:
        if isinstance(item, Gap | Segment):  # with a gap to place, `merge` gives no segments
            return False
        apart = self._positions.is_apart(item.audience.stream)
        return key(item) in later or (item.id > gap.position and not apart)

    def _is_ahead(self, since: int) -> bool:
        """Whether a client's position lies above that of the pod."""
        return self._positions.shared_since(since) > self._delivery.position


def tell_gap(hub: Hub, audiences: Collection[Audience], position: int) -> None:
    """Tell the members of audiences that events at or below a position are lost."""
    streams = {audience.stream for audience in audiences}
    for connection in list(hub.connections):
        if not streams.isdisjoint((*connection.shared_streams, *connection.named_streams)):
            if connection.state is State.LIVE:
                connection.write(connection.format.gap(position))
            elif connection.held is not None:  # it will be sent in order with the held events
                connection.held.add([Gap(position)])


def _take(connection: Connection) -> list[Item]:
    return [] if connection.held is None else connection.held.take()


def _cost(item: Sent) -> int:
    """Memory in bytes that an item takes for this client alone."""
    return item.cost_bytes if isinstance(item, Event) else 0


async def _drained(connection: Connection) -> None:
    async with asyncio.timeout(_STALL_SECONDS):
        await connection.socket.drained()


def _was_left_out(event: Event, resumes: str | None) -> bool:
    """Whether an event excludes the client's earlier connection."""
    return event.exclude is not None and resumes in names_in(event.exclude)
