"""Reading what went by from the logs in Redis: for a pod that lost its connection, or a fresh one.

Changes nothing: a read that fails half way leaves no trace, and is simply done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Protocol

from clarion_contract.bus.bus import History
from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.event import Event

NEWEST: Final = 2**53
"""Above every id."""

# Streams read in one pipeline, and events of each.
_STREAMS_PER_READ: Final = 500
_EVENTS_PER_READ: Final = 1_000

_by_id: Final = attrgetter("id")


class ReadingBus(Protocol):
    """What reading the logs needs of `clarion_contract.bus.bus.Bus`."""

    async def history(
        self, ranges: Sequence[tuple[Audience, int]], *, limit: int, broken_too: bool = False
    ) -> list[History]:
        """See `clarion_contract.bus.bus.Bus.history`."""
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of a stream, and what is to be read of it.

    Attributes:
        last: the newest id heard on it; 0: none.
        since: nothing up to here is missing.
        after: read what is above.
        until: read up to here.
    """

    audience: Audience
    last: int
    since: int
    after: int
    until: int


@dataclass(slots=True)
class Missed:
    """What the logs hold.

    Attributes:
        events: in id order.
        lost: audiences whose logs do not reach back to where reading began, and up to which id
            their events may be missing: none of the events above it is.
        base: by those audiences: what was heard before counts as ending here.
        forgotten: streams of which Redis has forgotten an event that was heard: a failover has
            dropped writes. Others may be among them that nobody heard, on any stream: that
            concerns everyone, so that ``lost`` names `all` too.
    """

    events: list[Event] = field(default_factory=list)
    lost: dict[Audience, int] = field(default_factory=dict)
    base: dict[Audience, int] = field(default_factory=dict)
    forgotten: set[Audience] = field(default_factory=set)


async def read(bus: ReadingBus, streams: Sequence[Heard], until: int) -> Missed:
    """What every stream's log holds of what was asked for.

    Args:
        until: where a loss lies of which nothing better is known.

    Raises:
        BusUnavailable: Redis does not answer.
    """
    missed = Missed()
    for start in range(0, len(streams), _STREAMS_PER_READ):
        todo = [(stream, stream.after) for stream in streams[start : start + _STREAMS_PER_READ]]
        first = True
        while todo:
            ranges = [(stream.audience, after) for stream, after in todo]
            histories = await bus.history(ranges, limit=_EVENTS_PER_READ, broken_too=True)
            more: list[tuple[Heard, int]] = []
            for (stream, _), history in zip(todo, histories, strict=True):
                if first:
                    _judge(missed, stream, history)
                events = [event for event in history.events if event.id <= stream.until]
                missed.events += events
                if len(events) == _EVENTS_PER_READ:
                    more.append((stream, events[-1].id))
            todo, first = more, False
    missed.events.sort(key=_by_id)
    if missed.forgotten:
        # Replicas get writes in their order: what is there was published after what is not.
        missed.lost[ALL] = missed.events[0].id - 1 if missed.events else until
    return missed


async def ends(bus: ReadingBus, audiences: Sequence[Audience]) -> list[int]:
    """For each stream an id at which it ends: nothing up to there is still to be published.

    Raises:
        BusUnavailable: Redis does not answer.
    """
    found: list[int] = []
    for start in range(0, len(audiences), _STREAMS_PER_READ):
        ranges = [(audience, NEWEST) for audience in audiences[start : start + _STREAMS_PER_READ]]
        histories = await bus.history(ranges, limit=1)
        found += [max(history.last, history.floor) for history in histories]
    return found


def _judge(missed: Missed, stream: Heard, history: History) -> None:
    """What the first page of a log says of it."""
    if history.floor > max(stream.since, stream.last):
        missed.lost[stream.audience] = missed.base[stream.audience] = history.floor
    before = history.events[0].prev if history.events else max(history.last, history.floor)
    if stream.last > before:
        missed.forgotten.add(stream.audience)
        missed.base[stream.audience] = before
