"""Why an event or a request is refused, independent of any protocol.

A refusal carries a kind. The kind's name is the metric label and the trace's ``error.type``, and
the kind says whether a source should try the same event again. The HTTP source adds statuses and
titles (`clarion_publisher.sources.http.problems`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta, Struct

from clarion_contract.events.errors import BusUnavailable

# The wait before a retry if nobody can tell how long the trouble lasts: Redis is lost, or the queue
# is full.
RETRY_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of refusal.

    Attributes:
        name: metric label, one of a closed set.
        retryable: whether the same event may succeed later.
    """

    name: str
    retryable: bool = False


INSUFFICIENT_SCOPE: Final = Kind("insufficient_scope")
DATA_TOO_LARGE: Final = Kind("data_too_large")
INVALID_EVENT: Final = Kind("invalid_event")
KEY_REUSED: Final = Kind("key_reused")
RATE_LIMITED: Final = Kind("rate_limited", retryable=True)
BUS_UNAVAILABLE: Final = Kind("bus_unavailable", retryable=True)
BUS_REFUSED: Final = Kind("bus_refused")
OVERLOADED: Final = Kind("overloaded", retryable=True)

KINDS: Final = (
    INSUFFICIENT_SCOPE,
    DATA_TOO_LARGE,
    INVALID_EVENT,
    KEY_REUSED,
    RATE_LIMITED,
    BUS_UNAVAILABLE,
    BUS_REFUSED,
    OVERLOADED,
)
"""The kinds of refusals that `clarion_publisher.ingestion.ingestion.Ingestion` gives."""


class FieldError(Struct, frozen=True):
    """An error in one field."""

    pointer: Annotated[
        str, Meta(description="The field: a JSON pointer (RFC 6901) into the event or the batch.")
    ]
    expected: Annotated[str, Meta(description="What the field must be.")]
    got: Annotated[str, Meta(description="What it is; long values are described, not repeated.")]


class Refusal(Exception):
    """An event or a request that the publisher refuses.

    Attributes:
        detail: this case in words, for people.
        errors: the wrong fields.
        scope: the scope that the caller lacks.
        retry_after_seconds: when to try again; None: no particular time.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        scope: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(f"{kind.name}: {detail}")
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.scope = scope
        self.retry_after_seconds = retry_after_seconds


def invalid_event(*errors: FieldError) -> Refusal:
    """The refusal of an event with bad fields."""
    return Refusal(INVALID_EVENT, describe(errors), errors=errors)


def bus_failure(error: BusUnavailable, advice: str) -> Refusal:
    """The refusal of what Redis did not take.

    Args:
        advice: what the caller may do where waiting helps.
    """
    if error.fault is not None:
        return Refusal(BUS_REFUSED, f"sending it again does not help: {error.fault.advice}")
    return Refusal(BUS_UNAVAILABLE, advice, retry_after_seconds=RETRY_SECONDS)


def describe(errors: Sequence[FieldError]) -> str:
    """The first error in words, and the number of further ones."""
    first = errors[0]
    detail = f"expected {first.expected} at {first.pointer or 'the root'}, got {first.got}"
    if len(errors) > 1:
        detail += f", and {len(errors) - 1} more"
    return detail
