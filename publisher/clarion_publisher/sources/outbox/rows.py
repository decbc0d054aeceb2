"""A row of the outbox becomes an event, or a refusal with its reason. Pure.

A row's texts come in as bytes: one row that is not UTF-8 must not keep others from being read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from clarion_contract.events.audience import KINDS, Audience
from clarion_contract.service.telemetry import is_sampled, read_traceparent
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.json_text import bad_json
from clarion_publisher.ingestion.refusal import (
    DATA_TOO_LARGE,
    FieldError,
    Refusal,
    invalid_event,
)

_AUDIENCE_EXPECTED: Final = "an audience: " + ", ".join(
    name if kind.naming is None else f"{name}:<name>" for name, kind in KINDS.items()
)
_SHOWN_MAX_CHARACTERS: Final = 40


class Row(NamedTuple):
    """A row as it is read.

    Attributes:
        created: microseconds, by the database's clock.
        data: JSON text; None: it is too large, and was not read.
        size: of the data, in bytes; of data that are too large, what they take on disk may do.
        traceparent: as the application gave it.
    """

    id: int
    created: int
    audience: bytes
    type: bytes
    key: bytes | None
    exclude: bytes | None
    history: bool
    data: bytes | None
    size: int
    traceparent: bytes | None = None


def event_of(row: Row, identity: str, *, data_max_bytes: int) -> IncomingEvent | Refusal:
    """The event in a row, or the reason why there is none.

    A row without a key of its own gets one of the outbox's identity, its id and its time. The time
    counts too: a database that was restored, or a replica that became the primary, gives ids a
    second time. No other key begins with NUL, because PostgreSQL's text cannot hold it.

    Args:
        identity: of the outbox, see `schema.find`.
        data_max_bytes: beyond it, data are not read.
    """
    if row.data is None:
        return Refusal(
            DATA_TOO_LARGE,
            f"expected data of at most {data_max_bytes} bytes, got at least {row.size} bytes",
        )
    try:
        audience = _audience(row.audience)
        key = f"\0{identity}:{row.id}:{row.created}" if row.key is None else row.key.decode()
        exclude = None if row.exclude is None else row.exclude.decode()
        event = IncomingEvent(
            audience,
            row.type.decode(),
            row.data,
            key,
            exclude,
            row.history,
            _trace(row.traceparent),
        )
    except Refusal as refusal:
        return refusal
    except UnicodeDecodeError:
        return invalid_event(FieldError("", "text in UTF-8", "other bytes"))
    return bad_json(row.data) or event


def _trace(traceparent: bytes | None) -> str | None:
    """The row's own trace; empty: the application does not sample. A bad one is none."""
    if traceparent is None:
        return None
    trace = read_traceparent(traceparent)
    return trace if trace is None or is_sampled(trace) else ""


@lru_cache(maxsize=4_096)
def _audience(text: bytes) -> Audience:
    """The audience in the form of `clarion publish --to`, such as ``user:alice``.

    Raises:
        Refusal: it has another form. `Admission` checks the name.
    """
    kind, colon, name = text.decode().partition(":")
    row = KINDS.get(kind)
    if row is None or (row.naming is None) == bool(colon):
        shown = f"{kind}{colon}{name}"[:_SHOWN_MAX_CHARACTERS]
        raise invalid_event(FieldError("/audience", _AUDIENCE_EXPECTED, repr(shown)))
    return Audience(kind, name)
