"""A page of a stream's log, and the events in its entries. No I/O; `Bus.history` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Event, parse_message

_log = structlog.get_logger(__name__)

PAGE_MAX_BYTES: Final = 1 << 20
"""Of events' data in one reply. Redis builds a reply in its own memory, once for each reader."""


@dataclass(frozen=True, slots=True)
class History:
    """The events of one stream after a position.

    Attributes:
        floor: the log is complete for every position at or above it.
        last: id of the stream's newest event; 0 when Redis remembers none.
        logged: id of the last event with history before ``events``; of the newest one if they are
            none.
        events: in id order, at most as many as the caller asked for.
        next_since: the position from which to read on; None: these were all.
    """

    floor: int
    last: int
    logged: int
    events: list[Event]
    next_since: int | None = None


def page_of(
    audience: Audience,
    floor: int,
    last: int,
    logged: int,
    entries: list[tuple[bytes, list[bytes]]],
    next_since: int | None,
) -> History:
    """A page of a log.

    An entry that is not an event, such as one of a later version, is logged and left out. The log
    counts as incomplete up to it, so that clients are told of a loss instead of missing it.
    """
    events: list[Event] = []
    for entry in entries:
        try:
            event, before = _logged(audience, entry)
        except (ValueError, KeyError):
            name = entry[0].decode()
            _log.error("not an event in a log; it counts as lost", stream=audience.stream, id=name)
            floor = max(floor, int(name.partition("-")[0]))
        else:
            if not events:
                logged = before
            events.append(event)
    return History(floor, last, logged, events, next_since)


def _logged(audience: Audience, entry: tuple[bytes, list[bytes]]) -> tuple[Event, int]:
    """The event in a log entry ``(<id>-0, [p, prev, h, header, d, data])``.

    Also the id of the logged event before, which stands in ``l`` if it is not ``p``.
    """
    stream_id, fields = entry
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    event_id = stream_id.partition(b"-")[0]
    event = parse_message(
        audience, b"%b %b %b\n%b" % (event_id, values[b"p"], values[b"h"], values[b"d"])
    )
    return event, int(values.get(b"l", values[b"p"]))
