"""Refusals over HTTP: problem documents (RFC 9457) and their headers.

One table gives the status and the title for each kind of refusal. Any code may raise a `Refusal`;
the outermost part of the request's handling turns it into an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from clarion_publisher.ingestion import refusal as kinds
from clarion_publisher.ingestion.refusal import FieldError, Kind, Refusal, describe

TYPE_PREFIX: Final = "urn:clarion:problem:"
CONTENT_TYPE: Final = "application/problem+json"
REALM: Final = "clarion"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of problem."""

    kind: Kind
    status: int
    title: str

    @property
    def name(self) -> str:
        """The last part of its type, and its metric label."""
        return self.kind.name

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.kind.retryable

    @property
    def type(self) -> str:
        """The problem type, a URI (RFC 9457, section 3.1.1). docs/errors.md explains each."""
        return TYPE_PREFIX + self.name


MALFORMED_REQUEST: Final = Row(Kind("malformed_request"), 400, "The request is malformed")
MALFORMED_JSON: Final = Row(Kind("malformed_json"), 400, "The body is not JSON")
UNAUTHENTICATED: Final = Row(Kind("unauthenticated"), 401, "A bearer token is required")
INVALID_TOKEN: Final = Row(Kind("invalid_token"), 401, "The token is not accepted")
INSUFFICIENT_SCOPE: Final = Row(kinds.INSUFFICIENT_SCOPE, 403, "The token lacks a scope")
NOT_FOUND: Final = Row(Kind("not_found"), 404, "There is nothing at this path")
METHOD_NOT_ALLOWED: Final = Row(Kind("method_not_allowed"), 405, "The path has no such method")
REQUEST_TIMEOUT: Final = Row(
    Kind("request_timeout", retryable=True), 408, "The request took too long to come in"
)
BODY_TOO_LARGE: Final = Row(Kind("body_too_large"), 413, "The body is too large")
DATA_TOO_LARGE: Final = Row(kinds.DATA_TOO_LARGE, 413, "The event's data is too large")
UNSUPPORTED_MEDIA_TYPE: Final = Row(
    Kind("unsupported_media_type"), 415, "The body is of another type"
)
INVALID_EVENT: Final = Row(kinds.INVALID_EVENT, 422, "The event is invalid")
INVALID_BATCH: Final = Row(Kind("invalid_batch"), 422, "The batch is invalid")
INVALID_REQUEST: Final = Row(Kind("invalid_request"), 422, "The request has invalid fields")
KEY_REUSED: Final = Row(kinds.KEY_REUSED, 422, "The idempotency key belongs to another event")
RATE_LIMITED: Final = Row(kinds.RATE_LIMITED, 429, "Too many events from this caller")
HEAD_TOO_LARGE: Final = Row(
    Kind("head_too_large"), 431, "The request's line and headers are too large"
)
INTERNAL: Final = Row(Kind("internal", retryable=True), 500, "The publisher has a bug")
BUS_REFUSED: Final = Row(kinds.BUS_REFUSED, 507, "Redis refuses events; an operator must act")
BUS_UNAVAILABLE: Final = Row(kinds.BUS_UNAVAILABLE, 503, "The bus does not answer")
OVERLOADED: Final = Row(kinds.OVERLOADED, 503, "The publisher has too much to do")
KEYS_UNAVAILABLE: Final = Row(
    Kind("keys_unavailable", retryable=True), 503, "The token cannot be verified now"
)

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
    BUS_REFUSED,
    BUS_UNAVAILABLE,
    OVERLOADED,
    KEYS_UNAVAILABLE,
)


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


class HttpRefusal(Refusal):
    """A refusal for a reason that exists only in HTTP, or with its own headers."""

    def __init__(
        self,
        row: Row,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(row.kind, detail, errors=errors, retry_after_seconds=retry_after_seconds)
        self.row = row
        self._headers = tuple(headers)

    @property
    def body(self) -> bytes:
        """The problem document."""
        return document_of(self)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers that the problem needs, in addition to its content type."""
        return [*self._headers, *_asked_for(self)]


_ROWS_BY_KIND: Final = {row.kind: row for row in ROWS}


def row_of(refusal: Refusal) -> Row:
    """The status and the title of a refusal."""
    return refusal.row if isinstance(refusal, HttpRefusal) else _ROWS_BY_KIND[refusal.kind]


def problem_of(refusal: Refusal) -> Problem:
    """The problem document of a refusal."""
    row = row_of(refusal)
    return Problem(
        row.type,
        row.title,
        row.status,
        refusal.detail,
        row.retryable,
        refusal.errors or UNSET,
        refusal.scope or UNSET,
        refusal.retry_after_seconds or UNSET,
    )


def document_of(refusal: Refusal) -> bytes:
    """The problem document of a refusal, as JSON."""
    return msgspec.json.encode(problem_of(refusal))


def headers_of(refusal: Refusal) -> list[tuple[str, str]]:
    """The headers that a refusal needs, in addition to the content type."""
    return refusal.headers if isinstance(refusal, HttpRefusal) else _asked_for(refusal)


def invalid(row: Row, *errors: FieldError) -> HttpRefusal:
    """The refusal of a request or event with bad fields."""
    return HttpRefusal(row, describe(errors), errors=errors)


def of_status(status: int, detail: str, headers: Sequence[tuple[str, str]] = ()) -> HttpRefusal:
    """The refusal for a status that Starlette or FastAPI chose."""
    known = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}
    if status in known:
        return HttpRefusal(known[status], detail, headers=headers)
    row = MALFORMED_REQUEST if status < 500 else INTERNAL
    return HttpRefusal(Row(row.kind, status, row.title), detail, headers=headers)


def _asked_for(refusal: Refusal) -> list[tuple[str, str]]:
    status = row_of(refusal).status
    headers = []
    if status == 401:
        headers.append(("www-authenticate", _challenge(refusal)))
    elif status == 403:
        headers.append(("www-authenticate", _challenge(refusal, f', scope="{refusal.scope}"')))
    if refusal.retry_after_seconds is not None:
        headers.append(("retry-after", str(refusal.retry_after_seconds)))
    return headers


def _challenge(refusal: Refusal, more: str = "") -> str:
    """The way to authenticate (RFC 6750, section 3). No error code if the request had no token."""
    if refusal.kind is UNAUTHENTICATED.kind:
        return f'Bearer realm="{REALM}"'
    description = f'error_description="{refusal.detail}"'
    return f'Bearer realm="{REALM}", error="{refusal.kind.name}", {description}{more}'
