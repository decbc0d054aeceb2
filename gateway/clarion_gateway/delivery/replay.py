"""Collects the events that a client missed: from the pod's ring, and from the logs in Redis.

`clarion_gateway.clients.resumption` asks for them and sends them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from clarion_contract.bus.history import History
from clarion_contract.bus.positions import ONE_CLOCK, Positions
from clarion_contract.events.audience import Audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Event
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.delivery.logs import HistoryBus
from clarion_gateway.delivery.missed import NOT_WHOLE, Missed
from clarion_gateway.delivery.replay_room import FREE_BYTES, ReplayRoom
from clarion_gateway.delivery.ring import Ring, Segment
from clarion_gateway.delivery.shares import Party
from clarion_gateway.delivery.topic_rings import TopicRings, Want
from clarion_gateway.metrics.registry import Metrics

# The most events of one stream in one reply of Redis.
_EVENTS_PER_PAGE: Final = 500
# The same of a glance: a client that was away for a moment has missed a few at most.
_EVENTS_PER_GLANCE: Final = 50


class _Found:
    """The events found so far, and whether they are more than one client may get."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.events: list[Event] = []
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
                self.events.append(item)
                self._count += 1
            self.cost_bytes += item.cost_bytes


@dataclass(slots=True)
class _Log:
    """A stream's log while it is read, page by page.

    Attributes:
        since: the next page has events above this id.
        reaches: whether the part that was read is complete back to the client's position.
    """

    audience: Audience
    since: int
    reaches: bool = True


@dataclass(slots=True)
class _Search:
    """The search for the events that one client missed.

    Attributes:
        since: the client's position.
        shared_since: see `Missed`.
        logs: to be read.
        in_ring: whether the ring had all events of `all` and `authenticated`.
    """

    connection: Connection
    since: int
    shared_since: int
    logs: list[_Log]
    in_ring: bool
    found: _Found


class Replay:
    """Collects the events that a client missed: shared ones from the ring, others from Redis.

    Events go on while Redis is read. So the caller first lets the connection hold new events, then
    calls `missed`, and then joins both with `clarion_gateway.delivery.missed.merge` in one step.

    Attributes:
        room: the memory and the turns that all replays share.

    Args:
        max_events: the most events that one client is sent.
        max_bytes: the most memory that these may take, by `Event.cost_bytes`.
        topic_rings: the recent events of topics; None: every client reads the logs.
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
        topic_rings: TopicRings | None = None,
    ) -> None:
        self._topic_rings = topic_rings
        self._bus = bus
        self._ring = ring
        self._metrics = metrics
        self.room = room
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._positions = positions

    async def missed(
        self, connection: Connection, since: int, address: str | None = None
    ) -> Missed:
        """Collect the events of a connection's audiences after ``since``.

        The result is not `whole` if it is more than one client may get, or if the client has gone.
        Events from Redis take room, which the caller gives back in any case, after errors too.

        Args:
            since: the client's position.
            address: where the client is.

        Raises:
            BusUnavailable: Redis does not answer.
            Busy: too many other clients come back at the same time.
        """
        search = self._begin(connection, since)
        if search is None:
            return NOT_WHOLE
        self._count(search)
        found = search.found
        if search.logs:
            party = Party(connection.user, address)
            async with self.room.turn(party):
                unread = await self._look_into_rings(search.logs, since, found)
                shared_bytes = found.cost_bytes
                await self._read(connection, unread, since, found)
                if not found.is_too_much:
                    await self.room.take(connection, party, found.cost_bytes - shared_bytes)
        return self._end(search)

    async def glance(self, clients: Sequence[tuple[Connection, int]]) -> list[Missed | None]:
        """What `missed` would return for several clients, if that is short.

        One read serves all of them. It takes no turn and no room: its size is bounded.

        Args:
            clients: each with its position.

        Returns:
            For each client what it missed. None: that needs `missed`, since the client hears
            topics, the ring does not reach back to its position, it missed more than a page, or
            Redis did not answer for all of them.
        """
        searches = [self._begin(connection, since) for connection, since in clients]
        short = [search for search in searches if search is not None and _may_be_short(search)]
        logs = [log for search in short for log in search.logs]
        try:
            pages = await self._bus.history(
                [(log.audience, log.since) for log in logs],
                limit=_EVENTS_PER_GLANCE,
                broken_too=not self._positions.exact,
            )
        except BusUnavailable:  # on a cluster perhaps one of its servers only
            pages = []
            short = [search for search in short if not search.logs]
        answers: dict[Connection, Missed] = {}
        place = 0
        for search in short:
            theirs = pages[place : place + len(search.logs)]
            place += len(search.logs)
            shared_bytes = search.found.cost_bytes
            is_whole = not _take(search.logs, theirs, search.since, search.found)
            if is_whole and search.found.cost_bytes - shared_bytes <= FREE_BYTES:
                self._count(search)
                answers[search.connection] = self._end(search)
        return [
            NOT_WHOLE if search is None else answers.get(search.connection) for search in searches
        ]

    def _begin(self, connection: Connection, since: int) -> _Search | None:
        """Look into the ring; None: Redis has lost events that the client may lack."""
        shared_since = self._positions.shared_since(since)
        if shared_since < self._ring.broken_until:
            return None
        audiences = connection.audiences
        streams = tuple(audience.stream for audience in audiences if not audience.named)
        recent = self._ring.since(shared_since, streams)
        logs = [
            _Log(audience, self._positions.user_since(since))
            for audience in audiences
            if audience.named
        ]
        if recent is None:
            logs += [_Log(audience, shared_since) for audience in audiences if not audience.named]
        found = _Found(self._max_events, self._max_bytes)
        found.add(recent or ())
        return _Search(connection, since, shared_since, logs, recent is not None, found)

    def _count(self, search: _Search) -> None:
        self._metrics.resume_reads.labels("ring" if search.in_ring else "redis").inc()

    def _end(self, search: _Search) -> Missed:
        """The outcome, once all logs have been read or more was found than one client may get."""
        if search.connection.state is State.CLOSED:
            return NOT_WHOLE
        since, logs, found = search.since, search.logs, search.found
        lost = [log.audience for log in logs if not log.reaches]
        if found.is_too_much or not all(audience.shown for audience in lost):
            return NOT_WHOLE
        return Missed(
            True,
            [event for event in found.events if event.audience not in lost],
            search.shared_since,
            self._positions.user_since(since),
            found.segments,
            self._exact(since, logs, found.events),
            since,
            lost,
        )

    def _exact(self, since: int, logs: Sequence[_Log], events: Iterable[Event]) -> set[str]:
        """The streams on which a client's position is exact.

        If a log has an event with the id ``since``, the client got it on that stream. So its
        position is exact there, and on all streams of the same clock. Two clocks may have issued
        the same id; then nobody can tell.
        """
        origins = {event.audience.stream for event in events if event.id == since}
        if len(origins) != 1:
            return set()
        (origin,) = origins
        streams = (log.audience.stream for log in logs)
        return {stream for stream in streams if self._positions.share_clock(stream, origin)}

    async def _look_into_rings(
        self, logs: Sequence[_Log], since: int, found: _Found
    ) -> Sequence[_Log]:
        """Add the events of topics that their rings hold; returns the logs that are left to read.

        All clients share these events, as they share those of the ring.
        """
        rings = self._topic_rings
        topics = [log for log in logs if log.audience.shown] if rings is not None else []
        if rings is None or not topics:
            return logs
        wants = [Want(log.audience, log.since) for log in topics]
        unread = [log for log in logs if not log.audience.shown]
        for log, want, ring in zip(topics, wants, await rings.get(wants), strict=True):
            if ring.reaches(want) or ring.has(since):
                found.add(ring.since(log.since))
            elif ring.begins:
                log.reaches = False
            else:  # the ring has no room for so much
                unread.append(log)
        return unread

    async def _read(
        self, connection: Connection, logs: Sequence[_Log], since: int, found: _Found
    ) -> None:
        """Add the events of logs, page by page, until they are more than one client may get."""
        # If positions are not exact, reading begins before the first event that is needed.
        broken_too = not self._positions.exact
        while logs and not found.is_too_much and connection.state is not State.CLOSED:
            ranges = [(log.audience, log.since) for log in logs]
            pages = await self._bus.history(ranges, limit=_EVENTS_PER_PAGE, broken_too=broken_too)
            logs = _take(logs, pages, since, found)


def _may_be_short(search: _Search) -> bool:
    """Whether a page of each log may be enough, and the logs are all that is to be read."""
    return search.in_ring and not any(log.audience.shown for log in search.logs)


def _take(
    logs: Sequence[_Log], pages: Sequence[History], since: int, found: _Found
) -> Sequence[_Log]:
    """Add the events of pages; returns the logs that have more, each with where to read on.

    Args:
        pages: one of each log.
        since: the client's position.
    """
    more = []
    for log, page in zip(logs, pages, strict=True):
        if log.since < page.floor:  # too short, or trimmed since the last page
            log.reaches = False
        if any(event.id == since for event in page.events):
            log.reaches = True
        found.add(page.events)
        if page.next_since is not None:
            log.since = page.next_since
            more.append(log)
    return more
