"""Reading what went by from the logs in Redis: for a pod that lost its connection, or a fresh one.

Changes nothing: a read that fails half way leaves no trace, and is simply done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Protocol

from contract.audience import ALL, Audience
from contract.bus import History
from contract.event import Event

# Streams read in one pipeline, and events of each.
_STREAMS_PER_READ: Final = 500
_EVENTS_PER_READ: Final = 1_000

_by_id: Final = attrgetter("id")


class ReadingBus(Protocol):
    """What reading the logs needs of `contract.bus.Bus`."""

    async def history(
        self, ranges: Sequence[tuple[Audience, int]], *, limit: int, broken_too: bool = False
    ) -> list[History]:
        """See `contract.bus.Bus.history`."""
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """A stream and the newest id heard on it; 0: none."""

    audience: Audience
    last: int


@dataclass(slots=True)
class Missed:
    """What the logs hold.

    Attributes:
        events: in id order.
        lost: audiences whose logs do not reach back to where reading began, and up to which id
            their events may be missing: none of the events above it is.
        forgotten: streams of which Redis has forgotten an event that was heard: a failover has
            dropped writes. Others may be among them that nobody heard, on any stream: that
            concerns everyone, so that ``lost`` names `all` too.
    """

    events: list[Event] = field(default_factory=list)
    lost: dict[Audience, int] = field(default_factory=dict)
    forgotten: set[Audience] = field(default_factory=set)


async def read(bus: ReadingBus, streams: Sequence[Heard], since: int, until: int) -> Missed:
    """All events after ``since`` and up to ``until`` on every stream.

    Raises:
        BusUnavailable: Redis does not answer.
    """
    missed = Missed()
    for start in range(0, len(streams), _STREAMS_PER_READ):
        todo = [(stream, since) for stream in streams[start : start + _STREAMS_PER_READ]]
        first = True
        while todo:
            ranges = [(stream.audience, after) for stream, after in todo]
            histories = await bus.history(ranges, limit=_EVENTS_PER_READ, broken_too=True)
            more: list[tuple[Heard, int]] = []
            for (stream, _), history in zip(todo, histories, strict=True):
                if first:
                    _judge(missed, stream, history, since)
                events = [event for event in history.events if event.id <= until]
                missed.events += events
                if len(events) == _EVENTS_PER_READ:
                    more.append((stream, events[-1].id))
            todo, first = more, False
    missed.events.sort(key=_by_id)
    if missed.forgotten:
        # Replicas get writes in their order: what is there was published after what is not.
        missed.lost[ALL] = missed.events[0].id - 1 if missed.events else until
    return missed


def _judge(missed: Missed, stream: Heard, history: History, since: int) -> None:
    """What the first page of a log says of it."""
    if history.floor > max(since, stream.last):
        missed.lost[stream.audience] = history.floor
    before = history.events[0].prev if history.events else max(history.last, history.floor)
    if stream.last > before:
        missed.forgotten.add(stream.audience)
