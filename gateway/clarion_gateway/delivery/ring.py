"""The pod's recent events of `all` and `authenticated`, for clients that resume.

Rounds add events, and `clarion_gateway.delivery.replay` reads them. When ten thousand clients come
back at once, they read from Redis only their own users' streams. They miss the same shared events.
The ring keeps those in segments, each encoded once for all clients of one wire format. So a resume
costs one write per segment and no work per event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from clarion_contract.events.event import Event
from clarion_gateway.wire.format import WireFormat

# Memory of a segment's events, about: a segment is one write to a client that catches up.
_SEGMENT_BYTES: Final = 65_536
# A ring has at least so many segments, since it drops whole ones: it must not drop half its events.
_SEGMENTS_MIN: Final = 16
# The share of the ring's bytes that encoded segments may take.
_ENCODED_SHARE: Final = 1 / 4


class Segment:
    """Successive events of the ring, for all clients that hear the same shared streams.

    Attributes:
        first: id of the first event of this part of the ring.
        last: id of the last event of this part.
        events: the events of this part that go to such clients.
        cost_bytes: memory that these events take.
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
        """Encode all events in one wire format; the ring keeps the bytes while it has room."""
        encoded = self._encoded.get(wire_format)
        if encoded is None:
            encoded = b"".join([wire_format.event(event) for event in self.events])
            if self._ring is not None:
                self._encoded[wire_format] = encoded
                self._ring.keep_encoded(self, len(encoded))
        return encoded

    def forget_encoded(self) -> None:
        """Drop the encoded bytes: the next client needs them encoded anew."""
        self._encoded.clear()

    def leave_ring(self) -> None:
        """Drop the encoded bytes and keep none in future: no new client will get this segment."""
        self._ring = None
        self._encoded.clear()


class _Part:
    """A part of the ring: the last one, which still grows, or a closed one."""

    __slots__ = ("_by_streams", "_splits", "_streams", "cost_bytes", "events")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.cost_bytes = 0
        self._streams: tuple[str, ...] = ()
        # No segments can be made: the part still grows, or an event excludes a connection, so that
        # clients with the same streams hear different events.
        self._splits = True
        self._by_streams: dict[tuple[str, ...], Segment] = {}

    @property
    def segments(self) -> Iterable[Segment]:
        """The segments that were made of the part so far."""
        return self._by_streams.values()

    def close(self) -> None:
        """Close the part: it gets no more events, so segments can be made of it."""
        self._streams = tuple(sorted({event.audience.stream for event in self.events}))
        self._splits = any(event.exclude is not None for event in self.events)

    def segment(self, streams: tuple[str, ...], ring: Ring) -> Segment | None:
        """The segment for clients that hear these streams; None if no segment can be made."""
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
        floor: the ring is complete for clients at this position or a higher one; None: it is not
            filled yet.
        broken_until: Redis has lost events at or below this id, which its logs do not show.
        max_bytes: the most memory for events and for their encoded bytes.

    Args:
        segment_bytes: memory that the events of a segment take, about.
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

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Memory of the events and of their encoded bytes."""
        return self._cost_bytes + self._encoded_bytes

    def fill(self, floor: int, events: Iterable[Event]) -> None:
        """Replace the contents.

        Args:
            floor: see `Ring`.
            events: all shared events after ``floor``, in id order.
        """
        self.floor = floor
        for part in self._parts:
            for segment in part.segments:
                segment.leave_ring()
        self._parts.clear()
        self._count = self._cost_bytes = 0
        self._encoded.clear()
        self._encoded_bytes = 0
        for event in events:
            self.append(event)

    def begin_anew(self, position: int) -> None:
        """Drop everything, since ids went back to ``position``: the events are of other data."""
        self.fill(position, [])
        self.broken_until = 0

    def break_until(self, position: int) -> None:
        """Note that Redis has lost events at or below ``position``; earlier losses still count."""
        self.broken_until = max(self.broken_until, position)

    def append(self, event: Event) -> None:
        """Add the newest event; drop the oldest events if they take too much memory."""
        if self.floor is None or event.audience.named or not event.history:
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
        self._shrink()

    def since(self, position: int, streams: tuple[str, ...]) -> list[Event | Segment] | None:
        """The events after ``position`` in id order; None: the ring does not reach back so far.

        Args:
            streams: the shared streams that the client hears.
        """
        if self.floor is None or position < self.floor:
            return None
        newer: list[Event | Segment] = []
        # From the newest back, since most clients missed little.
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

    def keep_encoded(self, segment: Segment, size_bytes: int) -> None:
        """Count the encoded bytes of a segment; drop those of others if they exceed their share."""
        self._encoded_bytes += size_bytes
        # To the end of the dictionary: the segment encoded last is dropped last.
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
