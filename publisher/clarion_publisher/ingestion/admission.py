"""Turns a caller's event into a publication or refuses it: size, fields, scope, key. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from clarion_contract.events.audience import KINDS, Audience
from clarion_contract.events.declaration import Violation
from clarion_contract.events.event import (
    KEY_MAX_CHARACTERS,
    InvalidType,
    Publication,
    check_type,
)
from clarion_contract.events.exclusion import is_exclusion
from clarion_contract.events.naming import InvalidName
from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.authorise import authorise
from clarion_publisher.ingestion.event import (
    EXCLUDE_EXPECTED,
    KEY_EXPECTED,
    TYPE_EXPECTED,
    IncomingEvent,
)
from clarion_publisher.ingestion.refusal import DATA_TOO_LARGE, FieldError, Refusal, invalid_event

CheckDeclared = Callable[[Audience, str, bytes], Sequence[Violation]]
"""The faults of an event's audience, type and data by its declaration; empty: it has none."""


class Admission:
    """The checks that a caller's event must pass before it goes to the bus.

    Args:
        check_declared: None: nothing is declared.
    """

    def __init__(self, *, data_max_bytes: int, check_declared: CheckDeclared | None = None) -> None:
        self._data_max_bytes = data_max_bytes
        self._check_declared = check_declared

    def admit(self, caller: Claims, event: IncomingEvent, *, trace: str | None) -> Publication:
        """The publication for an event.

        Args:
            trace: a W3C traceparent for the gateways, unless the event has its own.

        Raises:
            Refusal: the event is too large, malformed, for an invalid user or not as it is
                declared, or the caller lacks the scope to publish it.
        """
        size = len(event.data)
        if size > self._data_max_bytes:
            raise Refusal(
                DATA_TOO_LARGE,
                f"expected data of at most {self._data_max_bytes} bytes, got {size} bytes",
            )
        _check_fields(event)
        authorise(caller, event.audience)
        if self._check_declared is not None:
            violations = self._check_declared(event.audience, event.type, event.data)
            if violations:
                raise invalid_event(*(FieldError(*each) for each in violations))
        key = None if event.key is None else producer_key(caller.subject, event.key)
        trace = trace if event.trace is None else event.trace or None
        return Publication(
            event.audience,
            event.type,
            event.data,
            key,
            event.exclude,
            trace,
            event.history,
            event.arguments,
        )


def producer_key(producer: str, key: str) -> str:
    """One producer's idempotency key in the form used in Redis.

    It is a hash, so keys of two producers never collide, and their characters never become part
    of a name in Redis.
    """
    name = producer.encode("utf-8", "surrogatepass")
    text = b"%d:%b%b" % (len(name), name, key.encode("utf-8", "surrogatepass"))
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _check_fields(event: IncomingEvent) -> None:
    """Check the fields that could break a stream's name, the bus message's header or a key.

    HTTP's decoder has already checked most of them; other sources need not.
    """
    _check_name(event.audience)
    try:
        check_type(event.type)
    except InvalidType:
        raise invalid_event(FieldError("/type", TYPE_EXPECTED, _length(event.type))) from None
    if event.key is not None and not 1 <= len(event.key) <= KEY_MAX_CHARACTERS:
        raise invalid_event(FieldError("/key", KEY_EXPECTED, _length(event.key)))
    if event.exclude is not None and not is_exclusion(event.exclude):
        raise invalid_event(FieldError("/exclude", EXCLUDE_EXPECTED, _length(event.exclude)))


def _check_name(audience: Audience) -> None:
    naming = KINDS[audience.kind].naming
    if naming is None:
        return
    try:
        naming.check(audience.name)
    except InvalidName:
        size = len(audience.name.encode("utf-8", "surrogatepass"))
        error = FieldError(f"/audience/{audience.kind}", naming.expected, f"{size} bytes")
        raise invalid_event(error) from None


def _length(text: str) -> str:
    return f"{len(text)} characters"
