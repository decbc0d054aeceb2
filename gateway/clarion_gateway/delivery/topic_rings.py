"""The recent events of topics, for clients that resume or subscribe: each log is read for all.

A ring begins when a client asks for a topic's past. From then on, rounds add the topic's new events
to it, and its log is read once. So many clients that come back at once cost Redis one or two reads
of each topic, and no event falls between the log and the rounds. The pieces of a growing text are
one event in a ring, as in the log.

The pod must be subscribed to a topic as long as there is a ring of it. The subscription drops rings
of topics that it gives up, and all rings after a loss.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Event
from clarion_contract.texts.piece import piece_of, whole_pieces
from clarion_gateway.delivery.logs import LogBus

# A topic of which a client missed more than so much is read as far back as its ring has room.
_EVENTS_PER_PAGE: Final = 500
# Memory of a ring beside its events.
_RING_BYTES: Final = 1_024
# The share of all memory that one topic may take.
_ONE_SHARE: Final = 1 / 8
_by_id: Final = attrgetter("id")


@dataclass(frozen=True, slots=True)
class Want:
    """A part of a topic's past that a client wants.

    Attributes:
        audience: the topic.
        since: the events above this id.
        last: so many of the newest events instead; 0: those since an id.
    """

    audience: Audience
    since: int = 0
    last: int = 0


class TopicRing:
    """The recent events of one topic.

    Attributes:
        audience: the topic.
        floor: the ring holds every event above this id; None: the log has not been read yet.
        begins: whether the log holds nothing before the ring.
        is_deep: whether to read the log again would bring nothing more: there is nothing before, or
            the ring has no room for it.
        events: in id order.
        is_short: whether it has pieces of a text whose beginning it lacks. They are of no use to
            clients that want the last events.
        cost_bytes: memory of all of it.
        reading: set while a client reads the log; the others wait for it.
    """

    __slots__ = (
        "audience",
        "begins",
        "cost_bytes",
        "events",
        "floor",
        "is_deep",
        "is_short",
        "reading",
    )

    def __init__(self, audience: Audience) -> None:
        self.audience = audience
        self.floor: int | None = None
        self.begins = False
        self.is_deep = False
        self.is_short = False
        self.events: list[Event] = []
        self.cost_bytes = _RING_BYTES
        self.reading: asyncio.Event | None = None

    def reaches(self, want: Want) -> bool:
        """Whether it holds all of the past that a client wants."""
        if self.floor is None:
            return False
        if want.last:
            return len(self.events) >= want.last and not self.is_short
        return self.floor <= want.since

    def has(self, id_: int) -> bool:
        """Whether it holds the event with an id."""
        place = bisect_right(self.events, id_, key=_by_id)
        return place > 0 and self.events[place - 1].id == id_

    def since(self, since: int) -> list[Event]:
        """The events above an id."""
        return self.events[bisect_right(self.events, since, key=_by_id) :]

    def append(self, event: Event) -> None:
        """Add an event that leaves in a round; it may have been read from the log before."""
        is_newest = not self.events or event.id > self.events[-1].id
        if event.of_text and (self.is_short or not is_newest):
            self._merge([event])
        elif event.of_text:
            self._append_piece(event)
        elif is_newest:
            self.events.append(event)
            self.cost_bytes += event.cost_bytes
        elif self.floor is None or event.id > self.floor:
            self._merge([event])

    def begin(self, events: Iterable[Event], floor: int, *, begins: bool, is_deep: bool) -> None:
        """Add the events that were read from the log, which are all above ``floor``."""
        self._merge(events, from_log=True)
        self.floor = floor if self.floor is None else min(floor, self.floor)
        self.begins, self.is_deep = begins, is_deep

    def expire(self, id_: int) -> None:
        """Drop the events up to an id, which are older than history reaches, but the newest one.

        It may be the topic's last value.
        """
        self._drop(min(bisect_right(self.events, id_, key=_by_id), max(0, len(self.events) - 1)))

    def shrink(self, max_bytes: int) -> None:
        """Drop the oldest events until the ring takes no more than so much."""
        count, cost_bytes = 0, self.cost_bytes
        while cost_bytes > max_bytes and count < len(self.events):
            cost_bytes -= self.events[count].cost_bytes
            count += 1
        if count:
            self.begins, self.is_deep = False, True
            self._drop(count)

    def _append_piece(self, event: Event) -> None:
        """Join a newest piece with its text, of which the ring has one event or none.

        Only the events since are looked at: to merge the whole ring would cost each piece as much
        time as the topic has history.
        """
        place = self._place_of_text(piece_of(event).stream)
        before = [] if place is None else [self.events[place]]
        joined, self.is_short = whole_pieces([*before, event])
        if joined == before:
            return  # the ring has this piece
        if place is not None:
            del self.events[place]
        self.events += joined
        self.cost_bytes += sum(each.cost_bytes for each in joined)
        self.cost_bytes -= sum(each.cost_bytes for each in before)

    def _place_of_text(self, name: str) -> int | None:
        for place in reversed(range(len(self.events))):
            event = self.events[place]
            if event.of_text and piece_of(event).stream == name:
                return place
        return None

    def _merge(self, events: Iterable[Event], *, from_log: bool = False) -> None:
        merged = {event.id: event for event in self.events}
        for event in events:
            # A piece from the log holds the whole text, one from a round does not.
            if from_log or event.id not in merged:
                merged[event.id] = event
        self.events = sorted(merged.values(), key=_by_id)
        if any(event.of_text for event in self.events):
            self.events, self.is_short = whole_pieces(self.events)
        self.cost_bytes = _RING_BYTES + sum(event.cost_bytes for event in self.events)

    def _drop(self, count: int) -> None:
        if count:
            if self.floor is not None:
                self.floor = max(self.floor, self.events[count - 1].id)
            self.cost_bytes -= sum(event.cost_bytes for event in self.events[:count])
            del self.events[:count]


class TopicRings:
    """The rings of the topics whose past was asked for, bounded in bytes over all topics.

    Args:
        max_bytes: memory of all rings together.
        max_events: the most events of one topic that are read at once.
        max_age_seconds: how long history keeps an event.
        position: returns the pod's position, which tells the time.
    """

    def __init__(
        self,
        bus: LogBus,
        *,
        max_bytes: int,
        max_events: int,
        max_age_seconds: int,
        position: Callable[[], int],
    ) -> None:
        self._bus = bus
        self._max_bytes = max_bytes
        self._one_max_bytes = int(max_bytes * _ONE_SHARE)
        self._max_events = max_events
        self._max_age = max_age_seconds * 1_000_000
        self._position = position
        self._cost_bytes = 0
        self._rings: dict[str, TopicRing] = {}  # the one that was asked for last comes last

    def __len__(self) -> int:
        return len(self._rings)

    @property
    def cost_bytes(self) -> int:
        """Memory of all rings."""
        return self._cost_bytes

    def append(self, event: Event) -> None:
        """Add an event that leaves in a round; nothing if nobody asked for its topic's past."""
        ring = self._rings.get(event.audience.stream)
        if ring is not None:
            before = ring.cost_bytes
            ring.append(event)
            self._count(ring, before)
            if ring.is_short and ring.reading is None:
                # Read anew for the next client, the text is one event, however long it grows.
                self.forget([event.audience.stream])

    def hold(self, rings: Iterable[TopicRing]) -> bool:
        """Whether rounds still add to all these rings, so that none of them lacks an event."""
        return all(self._rings.get(ring.audience.stream) is ring for ring in rings)

    def forget(self, streams: Iterable[str]) -> None:
        """Drop the rings of topics that the pod gives up."""
        for stream in streams:
            ring = self._rings.pop(stream, None)
            if ring is not None:
                self._cost_bytes -= ring.cost_bytes

    def clear(self) -> None:
        """Drop all rings: events were lost, and they do not show of which topics."""
        self._rings.clear()
        self._cost_bytes = 0

    async def get(self, wants: Sequence[Want]) -> list[TopicRing]:
        """The rings of topics, read from the logs as far back as is wanted.

        A log may not reach back so far, and a ring has no room for very much: see `TopicRing`. A
        topic is read once for all that want about the same of it, and once more for those that
        want more.

        Args:
            wants: each topic once; the pod is subscribed to all of them.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        rings = [self._ring(want.audience) for want in wants]
        while True:
            short = [
                (ring, want)
                for ring, want in zip(rings, wants, strict=True)
                if not (ring.is_deep or ring.reaches(want))
            ]
            if not short:
                return rings
            mine = [(ring, want) for ring, want in short if ring.reading is None]
            if mine:
                await self._read(mine)
            else:
                reading = short[0][0].reading
                if reading is not None:
                    await reading.wait()

    def _ring(self, audience: Audience) -> TopicRing:
        """The ring of a topic, as the one that was asked for last."""
        ring = self._rings.pop(audience.stream, None)
        if ring is None:
            ring = TopicRing(audience)
            self._cost_bytes += ring.cost_bytes
        self._rings[audience.stream] = ring
        before = ring.cost_bytes
        ring.expire(self._position() - self._max_age)
        self._count(ring, before)
        return ring

    async def _read(self, short: Sequence[tuple[TopicRing, Want]]) -> None:
        """Read the logs of topics; others that want them wait for it."""
        done = asyncio.Event()
        for ring, _ in short:
            ring.reading = done
        try:
            # Nearly all clients want what came since about the same moment. If a ring is too short
            # for one of them, it becomes as long as it can be.
            first = {
                ring: want.since for ring, want in short if ring.floor is None and not want.last
            }
            await self._read_since(first)
            counts = {
                ring: want.last or self._max_events
                for ring, want in short
                if ring.floor is None or ring not in first
            }
            for count in set(counts.values()):
                await self._read_newest([ring for ring in counts if counts[ring] == count], count)
        finally:
            for ring, _ in short:
                ring.reading = None
            done.set()

    async def _read_since(self, first: dict[TopicRing, int]) -> None:
        """Read what came since an id; a ring that needs more than one page stays as it is."""
        if not first:
            return
        ranges = [(ring.audience, since) for ring, since in first.items()]
        pages = await self._bus.history(ranges, limit=_EVENTS_PER_PAGE, broken_too=True)
        for (ring, since), page in zip(first.items(), pages, strict=True):
            if page.next_since is None:
                floor = max(since, page.floor)
                self._begin(ring, page.events, floor, begins=page.floor >= since)

    async def _read_newest(self, rings: Sequence[TopicRing], count: int) -> None:
        for ring in rings:  # one by one: each may be large
            (page,) = await self._bus.newest(
                [ring.audience], limit=count, max_bytes=self._one_max_bytes
            )
            self._begin(ring, page.events, page.floor, begins=page.next_since is None)
            if len(page.events) < count or count >= self._max_events:
                ring.is_deep = True

    def _begin(self, ring: TopicRing, events: Sequence[Event], floor: int, *, begins: bool) -> None:
        before = ring.cost_bytes
        ring.begin(events, floor, begins=begins, is_deep=begins)
        self._count(ring, before)

    def _count(self, ring: TopicRing, before_bytes: int) -> None:
        """Bound the memory of a ring that has changed, and of all."""
        if ring.cost_bytes > self._one_max_bytes:
            ring.shrink(self._one_max_bytes)
        if self.hold([ring]):
            self._cost_bytes += ring.cost_bytes - before_bytes
            while self._cost_bytes > self._max_bytes and len(self._rings) > 1:
                self.forget([next(iter(self._rings))])
