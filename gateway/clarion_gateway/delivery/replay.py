"""What a client missed: collected from the pod's ring, and from the logs in Redis behind it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from clarion_contract.bus.bus import PAGE_MAX_BYTES, History
from clarion_contract.bus.positions import ONE_CLOCK, Positions
from clarion_contract.events.audience import Audience, audiences_of
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Event
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.delivery.replay_room import ReplayRoom
from clarion_gateway.delivery.ring import Ring, Segment
from clarion_gateway.metrics.registry import Metrics

# Of one stream, in one reply of Redis.
_EVENTS_PER_PAGE: Final = 500


class HistoryBus(Protocol):
    """What replay needs of `clarion_contract.bus.bus.Bus`."""

    async def history(
        self,
        ranges: Sequence[tuple[Audience, int]],
        *,
        limit: int,
        broken_too: bool = False,
        max_bytes: int = PAGE_MAX_BYTES,
    ) -> list[History]:
        """See `clarion_contract.bus.bus.Bus.history`."""
        ...


@dataclass(frozen=True, slots=True)
class Missed:
    """What a client missed, as far as it could be found.

    Attributes:
        whole: nothing between the client's position and the events is missing.
        events: by id; those from Redis may be ahead of the pod's position.
        segments: further ones, of the ring.
        shared_since: what lies above it on `all` and `authenticated` is missing to the client.
        user_since: the same on its user's stream.
    """

    whole: bool
    events: dict[int, Event]
    shared_since: int = 0
    user_since: int = 0
    segments: Sequence[Segment] = ()


_NOT_WHOLE: Final = Missed(False, {})


class _Found:
    """Events by id, and whether they are more than one client is sent."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.events: dict[int, Event] = {}
        self.segments: list[Segment] = []
        self.cost_bytes = 0
        self._count = 0
        self._max_events = max_events
        self._max_bytes = max_bytes

    @property
    def is_too_much(self) -> bool:
        return self._count > self._max_events or self.cost_bytes > self._max_bytes

    def add(self, items: Iterable[Event | Segment]) -> None:
        for item in items:
            if isinstance(item, Segment):
                self.segments.append(item)
                self._count += len(item.events)
            else:
                self.events[item.id] = item
                self._count += 1
            self.cost_bytes += item.cost_bytes


@dataclass(slots=True)
class _Log:
    """A stream's log while it is read, page by page.

    Attributes:
        since: where the next page begins.
        reaches: whether nothing is missing between the client's position and what was read.
    """

    audience: Audience
    since: int
    reaches: bool = True


class Replay:
    """Collects what a client missed: from the ring, and its user's stream from Redis.

    Reading Redis takes time in which events go on. So the caller first lets the connection hold
    events, then calls `missed`, then joins both with `merge` in one step.

    Attributes:
        room: what all replays take together.

    Args:
        max_events: the most that one client is sent.
        max_bytes: the most that they may take of memory, by `Event.cost_bytes`.
    """

    def __init__(
        self,
        bus: HistoryBus,
        ring: Ring,
        metrics: Metrics,
        room: ReplayRoom,
        *,
        max_events: int,
        max_bytes: int,
        positions: Positions = ONE_CLOCK,
    ) -> None:
        self._bus = bus
        self._ring = ring
        self._metrics = metrics
        self.room = room
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._positions = positions

    async def missed(self, connection: Connection, since: int) -> Missed:
        """What went to a connection's audiences after ``since``.

        Not whole where it is more than one client is sent, or where the client has gone. What comes
        from Redis takes room: the caller gives it back, whatever happens.

        Raises:
            BusUnavailable: Redis does not answer.
            Busy: too many other clients come back.
        """
        user = connection.user
        shared_since = self._positions.shared_since(since)
        if shared_since < self._ring.broken_until:
            return _NOT_WHOLE
        audiences = audiences_of(user)
        streams = tuple(audience.stream for audience in audiences if not audience.named)
        recent = self._ring.since(shared_since, streams)
        logs = [
            _Log(audience, self._positions.user_since(since))
            for audience in audiences
            if audience.named
        ]
        if recent is None:
            logs += [_Log(audience, shared_since) for audience in audiences if not audience.named]
        self._metrics.resume_reads.labels("ring" if recent is not None else "redis").inc()
        found = _Found(self._max_events, self._max_bytes)
        found.add(recent or ())
        if logs:
            shared_bytes = found.cost_bytes
            async with self.room.turn(user):
                await self._read(connection, logs, since, found)
                if not found.is_too_much:
                    await self.room.take(connection, found.cost_bytes - shared_bytes)
        if connection.state is State.CLOSED:
            return _NOT_WHOLE
        if found.is_too_much or not all(log.reaches for log in logs):
            return _NOT_WHOLE
        # Where it lay within the overlap: the client was on that very stream.
        user_since = since if since in found.events else self._positions.user_since(since)
        return Missed(True, found.events, shared_since, user_since, found.segments)

    async def _read(
        self, connection: Connection, logs: Sequence[_Log], since: int, found: _Found
    ) -> None:
        """Add what logs hold, page by page, until that is more than a client is sent."""
        # Where positions are not exact, reading begins earlier than what is needed does.
        broken_too = not self._positions.exact
        while logs and not found.is_too_much and connection.state is not State.CLOSED:
            ranges = [(log.audience, log.since) for log in logs]
            # Before Redis is asked: it may deliver later events to the pod ahead of its answer.
            delivered = [self._ring.newest(log.audience.stream) for log in logs]
            pages = await self._bus.history(ranges, limit=_EVENTS_PER_PAGE, broken_too=broken_too)
            more = []
            for log, page, newest in zip(logs, pages, delivered, strict=True):
                if 0 < page.last < newest:
                    # A primary that hung while another took its place answers, until it learns of
                    # that, on connections that were open. What it lacks would be missed in silence.
                    raise BusUnavailable("a former primary answered")
                if log.since < page.floor:  # at first, or trimmed since the page before
                    log.reaches = False
                if any(event.id == since for event in page.events):
                    log.reaches = True
                found.add(page.events)
                if page.next_since is not None:
                    log.since = page.next_since
                    more.append(log)
            logs = more


def merge(
    missed: Missed,
    held: Sequence[Event],
    position: int,
    positions: Positions = ONE_CLOCK,
    *,
    apart: bool = False,
) -> list[Event | Segment]:
    """Every event that is missing to a client up to ``position``, once, in id order.

    Segments stay whole where no single event lies within them.

    Args:
        held: what went by since before `Replay.missed` was called.
        position: the pod's, now. What Redis holds beyond it is still to come by subscription. On
            streams of other clocks than its own, the caller has waited for all that Redis held.
        apart: give single events only, so that something may stand between any two.
    """
    events = {
        id_: event for id_, event in missed.events.items() if positions.is_delivered(id_, position)
    }
    # The ring had all shared events up to the end of its segments: some of them were held, too.
    in_ring = missed.segments[-1].last if missed.segments else 0
    events.update((event.id, event) for event in held if event.audience.named or event.id > in_ring)
    singles = [
        event
        for event in events.values()
        if event.id > (missed.user_since if event.audience.named else missed.shared_since)
    ]
    ids = sorted(event.id for event in singles)
    items: list[Event | Segment] = []
    for segment in missed.segments:
        is_cut = bisect_left(ids, segment.first) < bisect_right(ids, segment.last)
        if apart or is_cut or not positions.is_delivered(segment.last, position):
            singles += [
                event for event in segment.events if positions.is_delivered(event.id, position)
            ]
        else:
            items.append(segment)
    items += singles
    items.sort(key=lambda item: item.first if isinstance(item, Segment) else item.id)
    return items
