"""Every way in which the publisher refuses, as problem documents (RFC 9457).

One table: the status, the title, the metric label and whether the same request may be sent again.
Anything may raise a `Refusal`; the edge of the request turns it into an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

TYPE_PREFIX: Final = "urn:clarion:problem:"
CONTENT_TYPE: Final = "application/problem+json"
REALM: Final = "clarion"

# What a client is told to wait when only trying tells: a lost Redis, a full queue.
RETRY_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of problem.

    Attributes:
        name: the last part of its type, and its metric label.
        retryable: whether the same request may succeed later.
    """

    name: str
    status: int
    title: str
    retryable: bool = False

    @property
    def type(self) -> str:
        """The problem type, a URI (RFC 9457, section 3.1.1). docs/errors.md explains each."""
        return TYPE_PREFIX + self.name


MALFORMED_REQUEST: Final = Row("malformed_request", 400, "The request is malformed")
MALFORMED_JSON: Final = Row("malformed_json", 400, "The body is not JSON")
UNAUTHENTICATED: Final = Row("unauthenticated", 401, "A bearer token is required")
INVALID_TOKEN: Final = Row("invalid_token", 401, "The token is not accepted")
INSUFFICIENT_SCOPE: Final = Row("insufficient_scope", 403, "The token lacks a scope")
NOT_FOUND: Final = Row("not_found", 404, "There is nothing at this path")
METHOD_NOT_ALLOWED: Final = Row("method_not_allowed", 405, "The path has no such method")
REQUEST_TIMEOUT: Final = Row("request_timeout", 408, "The request took too long to come in", True)
BODY_TOO_LARGE: Final = Row("body_too_large", 413, "The body is too large")
DATA_TOO_LARGE: Final = Row("data_too_large", 413, "The event's data is too large")
UNSUPPORTED_MEDIA_TYPE: Final = Row("unsupported_media_type", 415, "The body is of another type")
INVALID_EVENT: Final = Row("invalid_event", 422, "The event is invalid")
INVALID_BATCH: Final = Row("invalid_batch", 422, "The batch is invalid")
INVALID_REQUEST: Final = Row("invalid_request", 422, "The request has invalid fields")
KEY_REUSED: Final = Row("key_reused", 422, "The idempotency key belongs to another event")
RATE_LIMITED: Final = Row("rate_limited", 429, "Too many events from this caller", True)
HEAD_TOO_LARGE: Final = Row("head_too_large", 431, "The request's line and headers are too large")
INTERNAL: Final = Row("internal", 500, "The publisher has a bug", True)
BUS_UNAVAILABLE: Final = Row("bus_unavailable", 503, "The bus does not answer", True)
OVERLOADED: Final = Row("overloaded", 503, "The publisher has too much to do", True)
KEYS_UNAVAILABLE: Final = Row("keys_unavailable", 503, "The token cannot be verified now", True)

ROWS: Final = (
    MALFORMED_REQUEST,
    MALFORMED_JSON,
    UNAUTHENTICATED,
    INVALID_TOKEN,
    INSUFFICIENT_SCOPE,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    BODY_TOO_LARGE,
    DATA_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID_EVENT,
    INVALID_BATCH,
    INVALID_REQUEST,
    KEY_REUSED,
    RATE_LIMITED,
    HEAD_TOO_LARGE,
    INTERNAL,
    BUS_UNAVAILABLE,
    OVERLOADED,
    KEYS_UNAVAILABLE,
)


class FieldError(Struct, frozen=True):
    """What is wrong with one field."""

    pointer: Annotated[
        str, Meta(description="The field: a JSON pointer (RFC 6901) into the event or the batch.")
    ]
    expected: Annotated[str, Meta(description="What the field must be.")]
    got: Annotated[str, Meta(description="What it is; long values are described, not repeated.")]


class Problem(Struct, frozen=True, omit_defaults=True):
    """A problem document (RFC 9457)."""

    type: Annotated[str, Meta(description="The kind of problem: urn:clarion:problem:<name>.")]
    title: Annotated[str, Meta(description="The kind of problem, in words.")]
    status: Annotated[int, Meta(ge=400, le=599, description="The HTTP status.")]
    detail: Annotated[str, Meta(description="What happened this time.")]
    retryable: Annotated[bool, Meta(description="Whether the same request may succeed later.")]
    errors: Annotated[
        tuple[FieldError, ...] | UnsetType, Meta(description="The fields that are wrong.")
    ] = UNSET
    scope: Annotated[str | UnsetType, Meta(description="The scope that the token lacks.")] = UNSET
    retry_after_seconds: (
        Annotated[int, Meta(ge=1, description="When to retry, as in the Retry-After header.")]
        | UnsetType
    ) = UNSET


class Refusal(Exception):
    """A request, or one event of a batch, that the publisher does not serve."""

    def __init__(
        self,
        row: Row,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        scope: str | None = None,
        retry_after_seconds: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(f"{row.name}: {detail}")
        self.row = row
        self.problem = Problem(
            row.type,
            row.title,
            row.status,
            detail,
            row.retryable,
            tuple(errors) or UNSET,
            scope or UNSET,
            retry_after_seconds or UNSET,
        )
        self._headers = headers

    @property
    def body(self) -> bytes:
        """The problem document."""
        return msgspec.json.encode(self.problem)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers that the problem asks for, beside its content type."""
        headers = list(self._headers)
        if self.row.status == 401:
            headers.append(("www-authenticate", self._challenge()))
        elif self.row.status == 403:
            headers.append(("www-authenticate", self._challenge(f', scope="{self.problem.scope}"')))
        if self.problem.retry_after_seconds is not UNSET:
            headers.append(("retry-after", str(self.problem.retry_after_seconds)))
        return headers

    def _challenge(self, more: str = "") -> str:
        """How to authenticate (RFC 6750, section 3): no error code where no token came."""
        if self.row is UNAUTHENTICATED:
            return f'Bearer realm="{REALM}"'
        description = f'error_description="{self.problem.detail}"'
        return f'Bearer realm="{REALM}", error="{self.row.name}", {description}{more}'


def invalid_event(*errors: FieldError) -> Refusal:
    """The refusal of an event with bad fields."""
    return invalid(INVALID_EVENT, *errors)


def invalid(row: Row, *errors: FieldError) -> Refusal:
    """The refusal of something with bad fields."""
    first = errors[0]
    detail = f"expected {first.expected} at {first.pointer or 'the root'}, got {first.got}"
    if len(errors) > 1:
        detail += f", and {len(errors) - 1} more"
    return Refusal(row, detail, errors=errors)


def of_status(status: int, detail: str, headers: Sequence[tuple[str, str]] = ()) -> Refusal:
    """The refusal for a status that Starlette or FastAPI chose."""
    known = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}
    if status in known:
        return Refusal(known[status], detail, headers=headers)
    row = MALFORMED_REQUEST if status < 500 else INTERNAL
    return Refusal(Row(row.name, status, row.title, row.retryable), detail, headers=headers)
