"""An event as a source hands it in, and the rules for each of its fields."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import KEY_MAX_CHARACTERS

# Rules in words, for the refusals.
TYPE_EXPECTED: Final = (
    "1 to 128 characters out of A-Z a-z 0-9 . _ : / -, with a letter or digit first"
)
KEY_EXPECTED: Final = f"a string of 1 to {KEY_MAX_CHARACTERS} characters"
EXCLUDE_EXPECTED: Final = "a connection's id: 1 to 64 characters out of A-Z a-z 0-9 _ -"


class IncomingEvent(Struct, frozen=True, gc=False):
    """An event that a source hands in. `Admission` checks everything except the syntax of ``data``.

    Attributes:
        data: JSON text in UTF-8. The source must check its syntax.
        key: the idempotency key as the producer chose it; None: the event is never a duplicate.
        exclude: the connections that must not receive the event: the id of one, or a list of
            `clarion_contract.events.exclusion`.
        history: whether clients that come back later get the event.
        trace: a sampled W3C traceparent of this event's own, in a batch of several producers'
            events; empty: its producer does not sample; None: the trace of the request counts.
        arguments: see `clarion_contract.events.event.Publication`.

    Example: ``IncomingEvent(user_audience("alice"), "order.updated", b'{"order":42}')``.
    """

    audience: Audience
    type: str
    data: bytes
    key: str | None = None
    exclude: str | None = None
    history: bool = True
    trace: str | None = None
    arguments: bool = False
