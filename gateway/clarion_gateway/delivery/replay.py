"""What a client missed: the pod's ring of recent events, and the logs in Redis behind it.

The ring holds the events of `all` and `authenticated`, so that ten thousand clients coming back at
once read nothing from Redis but their own users' streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from clarion_contract.bus.bus import PAGE_MAX_BYTES, History
from clarion_contract.bus.positions import ONE_CLOCK, Positions
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, user_audience
from clarion_contract.events.event import Event
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.delivery.replay_room import ReplayRoom
from clarion_gateway.metrics.registry import Metrics

# Of one stream, in one reply of Redis.
_EVENTS_PER_PAGE: Final = 500


class Ring:
    """Recent events of `all` and `authenticated` in id order, bounded in bytes.

    Attributes:
        floor: the ring is whole for every position at or above it; None: it holds nothing yet.
        broken_until: Redis has lost events at or below this, which its logs do not show.
    """

    def __init__(self, max_bytes: int) -> None:
        self.floor: int | None = None
        self.broken_until = 0
        self._events: deque[Event] = deque()
        self._size_bytes = 0
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._events)

    def fill(self, floor: int, events: Sequence[Event]) -> None:
        """Begin anew: ``events`` are all there were after ``floor``."""
        self.floor = floor
        self._events.clear()
        self._size_bytes = 0
        for event in events:
            self.append(event)

    def begin_anew(self, position: int) -> None:
        """Ids went back to ``position``: what was kept belongs to another data set."""
        self.fill(position, [])
        self.broken_until = 0

    def break_until(self, position: int) -> None:
        """Redis has lost events at or below ``position``; an earlier loss still counts."""
        self.broken_until = max(self.broken_until, position)

    def append(self, event: Event) -> None:
        """Add the newest event; the oldest go where they take too much memory."""
        if self.floor is None or event.audience.user is not None:
            return
        self._events.append(event)
        self._size_bytes += event.cost_bytes
        while self._size_bytes > self._max_bytes:
            oldest = self._events.popleft()
            self._size_bytes -= oldest.cost_bytes
            self.floor = oldest.id

    def since(self, position: int) -> list[Event] | None:
        """The events after ``position``, or None when the ring does not reach back that far."""
        if self.floor is None or position < self.floor:
            return None
        newer: list[Event] = []
        # From the newest back: most clients missed little.
        for event in reversed(self._events):
            if event.id <= position:
                break
            newer.append(event)
        newer.reverse()
        return newer


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
        shared_since: what lies above it on `all` and `authenticated` is missing to the client.
        user_since: the same on its user's stream.
    """

    whole: bool
    events: dict[int, Event]
    shared_since: int = 0
    user_since: int = 0


_NOT_WHOLE: Final = Missed(False, {})


class _Found:
    """Events by id, and whether they are more than one client is sent."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.events: dict[int, Event] = {}
        self.cost_bytes = 0
        self._max_events = max_events
        self._max_bytes = max_bytes

    @property
    def is_too_much(self) -> bool:
        return len(self.events) > self._max_events or self.cost_bytes > self._max_bytes

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            self.events[event.id] = event
            self.cost_bytes += event.cost_bytes


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
        recent = self._ring.since(shared_since)
        logs = []
        if user is not None:
            logs.append(_Log(user_audience(user), self._positions.user_since(since)))
        if recent is None:
            shared = [ALL] if user is None else [ALL, AUTHENTICATED]
            logs += [_Log(audience, shared_since) for audience in shared]
        self._metrics.resume_reads.labels("ring" if recent is not None else "redis").inc()
        found = _Found(self._max_events, self._max_bytes)
        found.add(
            event for event in recent or () if user is not None or event.audience.kind == "all"
        )
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
        return Missed(True, found.events, shared_since, user_since)

    async def _read(
        self, connection: Connection, logs: Sequence[_Log], since: int, found: _Found
    ) -> None:
        """Add what logs hold, page by page, until that is more than a client is sent."""
        # Where positions are not exact, reading begins earlier than what is needed does.
        broken_too = not self._positions.exact
        while logs and not found.is_too_much and connection.state is not State.CLOSED:
            ranges = [(log.audience, log.since) for log in logs]
            pages = await self._bus.history(ranges, limit=_EVENTS_PER_PAGE, broken_too=broken_too)
            more = []
            for log, page in zip(logs, pages, strict=True):
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
    missed: Missed, held: Sequence[Event], position: int, positions: Positions = ONE_CLOCK
) -> list[Event]:
    """Every event that is missing to a client up to ``position``, once, in id order.

    Args:
        held: what went by since before `Replay.missed` was called.
        position: the pod's, now. What Redis holds beyond it is still to come by subscription. On
            streams of other clocks than its own, the caller has waited for all that Redis held.
    """
    events = {
        id_: event for id_, event in missed.events.items() if positions.is_delivered(id_, position)
    }
    events.update((event.id, event) for event in held)
    return [
        events[id_]
        for id_ in sorted(events)
        if id_ > (missed.shared_since if events[id_].audience.user is None else missed.user_since)
    ]
