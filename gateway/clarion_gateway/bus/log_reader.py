"""Reads from the logs in Redis what a pod missed: after a lost connection, or at its start.

`clarion_gateway.bus.repair` calls it and delivers the result. Reading changes no state of the pod,
so a read that fails half way can simply be done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final

from clarion_contract.bus.history import PAGE_MAX_BYTES, History
from clarion_contract.bus.positions import Loss
from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.event import Event
from clarion_gateway.delivery.logs import HistoryBus

NEWEST: Final = 2**53
"""Above every id."""

# Streams read in one pipeline, and events of each.
_STREAMS_PER_READ: Final = 500
_EVENTS_PER_READ: Final = 500
# The least that a page holds of each stream. With many streams, each one's share of a page would
# hold a single event, and take a read for each.
_STREAM_MIN_BYTES: Final = 32_768

_by_id: Final = attrgetter("id")


@dataclass(frozen=True, slots=True)
class Heard:
    """A stream, with the last event that the pod heard on it and the range of ids to read.

    Attributes:
        last: the newest id heard on the stream; 0: none.
        logged: the newest of them that the log must have; 0: none.
        since: the pod misses nothing up to this id.
        after: read events with higher ids.
        until: read up to this id, and including it.
    """

    audience: Audience
    last: int
    logged: int
    since: int
    after: int
    until: int


@dataclass(slots=True)
class Missed:
    """The result of reading the logs: events, and losses.

    Attributes:
        events: in id order.
        losses: one for each log that does not reach back to where reading began, and one for
            `all` if Redis has forgotten an event. An audience may have two.
        base: by audience, for streams whose log has a hole: the id at which the part before the
            hole counts as ended.
        forgotten: streams on which the pod heard an event that Redis has forgotten, since a
            failover dropped writes. The failover may have dropped more writes, which no pod heard,
            on any stream. So this loss concerns everyone.
        floor: some events at or below this id were read but not kept.
        dropped: for each audience with such events, the newest of them.
    """

    events: list[Event] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    base: dict[Audience, int] = field(default_factory=dict)
    forgotten: set[Audience] = field(default_factory=set)
    floor: int = 0
    dropped: dict[Audience, int] = field(default_factory=dict)


async def read(
    bus: HistoryBus, streams: Sequence[Heard], until: int, *, keep_bytes: int | None = None
) -> Missed:
    """Read a range of every stream's log.

    Args:
        streams: which streams, and the range of each.
        until: the position of a loss, if nothing in the logs tells it more exactly.
        keep_bytes: keep only the newest events that fit into so much memory; None: keep all.

    Raises:
        BusUnavailable: Redis does not answer.
    """
    missed = Missed()
    newest_read = 0
    failover_after = 0
    for start in range(0, len(streams), _STREAMS_PER_READ):
        todo = list(streams[start : start + _STREAMS_PER_READ])
        while todo:
            ranges = [(stream.audience, stream.after) for stream in todo]
            histories = await bus.history(
                ranges,
                limit=_EVENTS_PER_READ,
                broken_too=True,
                max_bytes=max(PAGE_MAX_BYTES, _STREAM_MIN_BYTES * len(ranges)),
            )
            more: list[Heard] = []
            page: list[Event] = []
            for stream, history in zip(todo, histories, strict=True):
                if _judge(missed, stream, history):
                    # Redis may have failed over since the page before: see below.
                    failover_after = max(failover_after, newest_read, stream.last)
                events = [event for event in history.events if event.id <= stream.until]
                page += events
                read_on = history.next_since
                if read_on is not None and read_on < stream.until:
                    more.append(_after(stream, history, read_on))
            missed.events += page
            if keep_bytes is not None:
                _keep_newest(missed, keep_bytes)
            newest_read = max(newest_read, max((event.id for event in page), default=0))
            todo = more
    missed.events.sort(key=_by_id)
    if missed.forgotten:
        # Replicas get writes in order. So an event on this page or a later one was published after
        # the failover if its id is above all ids that were heard or read before.
        later = (event.id for event in missed.events if event.id > failover_after)
        missed.losses.append(Loss(ALL, next(later, until + 1) - 1, forgotten=True))
    return missed


async def ends(bus: HistoryBus, audiences: Sequence[Audience]) -> list[int]:
    """The id at which each stream ends: every later event of the stream will have a higher id.

    Raises:
        BusUnavailable: Redis does not answer.
    """
    found: list[int] = []
    for start in range(0, len(audiences), _STREAMS_PER_READ):
        ranges = [(audience, NEWEST) for audience in audiences[start : start + _STREAMS_PER_READ]]
        histories = await bus.history(ranges, limit=1)
        found += [max(history.last, history.floor) for history in histories]
    return found


def _keep_newest(missed: Missed, max_bytes: int) -> None:
    """Drop the events with the lowest ids, on any stream; above the new floor, all are kept."""
    excess_bytes = sum(event.cost_bytes for event in missed.events) - max_bytes
    if excess_bytes <= 0:
        return
    missed.events.sort(key=_by_id)
    count = 0
    while excess_bytes > 0:
        dropped = missed.events[count]
        excess_bytes -= dropped.cost_bytes
        missed.floor = max(missed.floor, dropped.id)
        missed.dropped[dropped.audience] = max(missed.dropped.get(dropped.audience, 0), dropped.id)
        count += 1
    del missed.events[:count]


def _judge(missed: Missed, stream: Heard, history: History) -> bool:
    """Note the losses that a page of a log shows; returns whether Redis has forgotten an event."""
    if history.floor > max(stream.since, stream.last):
        missed.losses.append(Loss(stream.audience, history.floor))
        missed.base[stream.audience] = history.floor
    before = history.events[0].prev if history.events else max(history.last, history.floor)
    # An event without history, on the new primary, may lie above all that was forgotten.
    if stream.last <= before and stream.logged <= max(history.logged, history.floor):
        return False
    missed.forgotten.add(stream.audience)
    missed.base[stream.audience] = before
    return True


def _after(stream: Heard, page: History, read_on: int) -> Heard:
    """The rest of a stream, after a page of its log."""
    logged = (event.id for event in reversed(page.events) if not event.of_text)
    return replace(
        stream,
        last=read_on,
        logged=next(logged, stream.logged),
        since=read_on,
        after=read_on,
    )
