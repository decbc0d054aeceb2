"""What a client missed: the pod's ring of recent events, and the logs in Redis behind it.

The ring holds the events of `all` and `authenticated`, so that ten thousand clients coming back at
once read nothing from Redis but their own users' streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from contract.audience import ALL, AUTHENTICATED, Audience, user_audience
from contract.bus import History
from contract.event import Event
from gateway.metrics import Metrics

# What an event costs beside its data: the objects around it.
_EVENT_OVERHEAD_BYTES: Final = 400


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

    def append(self, event: Event) -> None:
        """Add the newest event; the oldest go where they take too much memory."""
        if self.floor is None or event.audience.user is not None:
            return
        self._events.append(event)
        self._size_bytes += len(event.data) + _EVENT_OVERHEAD_BYTES
        while self._size_bytes > self._max_bytes:
            oldest = self._events.popleft()
            self._size_bytes -= len(oldest.data) + _EVENT_OVERHEAD_BYTES
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
    """What replay needs of `contract.bus.Bus`."""

    async def history(self, ranges: Sequence[tuple[Audience, int]], *, limit: int) -> list[History]:
        """See `contract.bus.Bus.history`."""
        ...


@dataclass(frozen=True, slots=True)
class Missed:
    """What a client missed, as far as it could be found.

    Attributes:
        whole: nothing between the client's position and the events is missing.
        events: by id; those from Redis may be ahead of the pod's position.
    """

    whole: bool
    events: dict[int, Event]


class Replay:
    """Collects what a client missed: from the ring, and its user's stream from Redis.

    Reading Redis takes time in which events go on. So the caller first lets the connection hold
    events, then calls `missed`, then joins both with `merge` in one step.
    """

    def __init__(self, bus: HistoryBus, ring: Ring, metrics: Metrics, *, max_events: int) -> None:
        self._bus = bus
        self._ring = ring
        self._metrics = metrics
        self._max_events = max_events

    async def missed(self, user: str | None, since: int) -> Missed:
        """What went to a user's, or an anonymous client's, audiences after ``since``.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        if since < self._ring.broken_until:
            return Missed(False, {})
        recent = self._ring.since(since)
        audiences = [] if user is None else [user_audience(user)]
        if recent is None:
            audiences += [ALL] if user is None else [ALL, AUTHENTICATED]
        self._metrics.resume_reads.labels("ring" if recent is not None else "redis").inc()
        events = {
            event.id: event
            for event in recent or ()
            if user is not None or event.audience.kind == "all"
        }
        limit = self._max_events + 1
        whole = True
        ranges = [(audience, since) for audience in audiences]
        for history in await self._bus.history(ranges, limit=limit) if ranges else ():
            whole = whole and since >= history.floor and len(history.events) < limit
            events.update((event.id, event) for event in history.events)
        return Missed(whole and len(events) < limit, events)


def merge(missed: Missed, held: Sequence[Event], position: int) -> list[Event]:
    """Every event up to ``position``, once, in id order.

    Args:
        held: what went by since before `Replay.missed` was called.
        position: the pod's, now. What Redis holds beyond it is still to come by subscription.
    """
    events = {id_: event for id_, event in missed.events.items() if id_ <= position}
    events.update((event.id, event) for event in held)
    return [events[id_] for id_ in sorted(events)]
