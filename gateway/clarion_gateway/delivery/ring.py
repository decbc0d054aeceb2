"""The pod's recent events of `all` and `authenticated`, for clients that come back.

Ten thousand clients that come back at once read nothing from Redis but their own users' streams.
And they miss the same events: the ring keeps those in segments, each encoded once for all clients
of one wire format, so that a resume costs one write for each segment and no work for its events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from clarion_contract.events.event import Event
from clarion_gateway.wire.format import WireFormat

# Of a segment: one write to a client that catches up.
_SEGMENT_BYTES: Final = 65_536
# A small ring forgets its events a few at a time, too.
_SEGMENTS_MIN: Final = 16
# What encoded segments may take of the ring's bytes.
_ENCODED_SHARE: Final = 1 / 4


class Segment:
    """Events that follow each other on the ring, as one kind of clients hears them.

    Attributes:
        first: id of the first of them.
        last: id of the last.
        events: those that go to such clients.
        cost_bytes: memory that they take.
    """

    __slots__ = ("_encoded", "_ring", "cost_bytes", "events", "first", "last")

    def __init__(self, ring: Ring, first: int, last: int, events: Sequence[Event]) -> None:
        self.first = first
        self.last = last
        self.events = events
        self.cost_bytes = sum(event.cost_bytes for event in events)
        self._ring: Ring | None = ring
        self._encoded: dict[WireFormat, bytes] = {}

    def encoded(self, wire_format: WireFormat) -> bytes:
        """All events in one wire format, kept for the next client while the ring has room."""
        encoded = self._encoded.get(wire_format)
        if encoded is None:
            encoded = b"".join([wire_format.event(event) for event in self.events])
            if self._ring is not None:
                self._encoded[wire_format] = encoded
                self._ring.keep_encoded(self, len(encoded))
        return encoded

    def forget_encoded(self) -> None:
        """Encode anew for the next client."""
        self._encoded.clear()

    def leave_ring(self) -> None:
        """No client but those that have it already is to come."""
        self._ring = None
        self._encoded.clear()


class _Part:
    """A part of the ring: open at its end, or whole."""

    __slots__ = ("_by_streams", "_splits", "_streams", "cost_bytes", "events")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.cost_bytes = 0
        self._streams: tuple[str, ...] = ()
        # It is open, or an event excludes a connection: then clients hear different ones.
        self._splits = True
        self._by_streams: dict[tuple[str, ...], Segment] = {}

    @property
    def segments(self) -> Iterable[Segment]:
        """Those that were made of the events."""
        return self._by_streams.values()

    def close(self) -> None:
        """No event follows: from now on there may be segments."""
        self._streams = tuple(sorted({event.audience.stream for event in self.events}))
        self._splits = any(event.exclude is not None for event in self.events)

    def segment(self, streams: tuple[str, ...], ring: Ring) -> Segment | None:
        """The events for clients that hear these streams; None: they hear different ones."""
        if self._splits:
            return None
        heard = tuple(stream for stream in self._streams if stream in streams)
        segment = self._by_streams.get(heard)
        if segment is None:
            events = [event for event in self.events if event.audience.stream in heard]
            segment = Segment(ring, self.events[0].id, self.events[-1].id, events)
            self._by_streams[heard] = segment
        return segment


class Ring:
    """Recent events of `all` and `authenticated` in id order, bounded in bytes.

    Attributes:
        floor: the ring is whole for every position at or above it; None: it holds nothing yet.
        broken_until: Redis has lost events at or below this, which its logs do not show.
        max_bytes: of memory, for events and for what of them is kept encoded.

    Args:
        segment_bytes: memory that a segment's events take, about.
    """

    def __init__(self, max_bytes: int, *, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self.floor: int | None = None
        self.broken_until = 0
        self._parts: deque[_Part] = deque()
        self._count = 0
        self._cost_bytes = 0
        self.max_bytes = max_bytes
        self._part_max_bytes = min(segment_bytes, max_bytes // _SEGMENTS_MIN)
        self._encoded: dict[Segment, int] = {}
        self._encoded_bytes = 0
        self._newest: dict[str, int] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Memory that the events take, and those that are encoded."""
        return self._cost_bytes + self._encoded_bytes

    def fill(self, floor: int, events: Iterable[Event]) -> None:
        """Begin anew: ``events`` are all there were after ``floor``."""
        self.floor = floor
        for part in self._parts:
            for segment in part.segments:
                segment.leave_ring()
        self._parts.clear()
        self._count = self._cost_bytes = 0
        self._encoded.clear()
        self._encoded_bytes = 0
        self._newest.clear()
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
        if self.floor is None or event.audience.named:
            return
        if not self._parts or self._parts[-1].cost_bytes >= self._part_max_bytes:
            if self._parts:
                self._parts[-1].close()
            self._parts.append(_Part())
        part = self._parts[-1]
        part.events.append(event)
        part.cost_bytes += event.cost_bytes
        self._count += 1
        self._cost_bytes += event.cost_bytes
        self._newest[event.audience.stream] = event.id
        self._shrink()

    def since(self, position: int, streams: tuple[str, ...]) -> list[Event | Segment] | None:
        """What clients miss after ``position``; None: the ring does not reach back that far.

        Args:
            streams: the shared streams that the clients hear.
        """
        if self.floor is None or position < self.floor:
            return None
        newer: list[Event | Segment] = []
        # From the newest back: most clients missed little.
        for part in reversed(self._parts):
            if part.events[-1].id <= position:
                break
            segment = part.segment(streams, self)
            if segment is not None and segment.first > position:
                newer.append(segment)
                continue
            newer += [
                event
                for event in reversed(part.events)
                if event.id > position and event.audience.stream in streams
            ]
        newer.reverse()
        return newer

    def newest(self, stream: str) -> int:
        """Id of the newest event of a stream since the ring was filled; 0: there was none."""
        return self._newest.get(stream, 0)

    def keep_encoded(self, segment: Segment, size_bytes: int) -> None:
        """A segment has been encoded; others are to forget that they were, past a bound."""
        self._encoded_bytes += size_bytes
        # The newest last: it goes last.
        self._encoded[segment] = self._encoded.pop(segment, 0) + size_bytes
        while self._encoded_bytes > self.max_bytes * _ENCODED_SHARE:
            self._forget_encoded(next(iter(self._encoded)))
        self._shrink()

    def _forget_encoded(self, segment: Segment) -> None:
        self._encoded_bytes -= self._encoded.pop(segment, 0)
        segment.forget_encoded()

    def _shrink(self) -> None:
        while self._parts and self.size_bytes > self.max_bytes:
            oldest = self._parts.popleft()
            for segment in oldest.segments:
                self._encoded_bytes -= self._encoded.pop(segment, 0)
                segment.leave_ring()
            self._count -= len(oldest.events)
            self._cost_bytes -= oldest.cost_bytes
            self.floor = oldest.events[-1].id
