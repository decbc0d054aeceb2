"""The JSON of the publisher's API, in and out. The OpenAPI document is made from these classes.

``data`` is `msgspec.Raw`: msgspec checks its syntax, and its bytes go to the clients as the
producer wrote them, numbers and key order and white space included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, DecodeError, Meta, Raw, Struct, UnsetType, ValidationError

from contract.audience import USER_ID_MAX_BYTES
from contract.event import CONNECTION_ID_PATTERN, KEY_MAX_CHARACTERS, TYPE_PATTERN
from publisher.problems import (
    INVALID_BATCH,
    INVALID_REQUEST,
    MALFORMED_JSON,
    FieldError,
    Problem,
    Refusal,
    invalid,
    invalid_event,
)

USER_EXPECTED: Final = f"a user's id: 1 to {USER_ID_MAX_BYTES} bytes in UTF-8"

_SHOWN_MAX_CHARACTERS: Final = 40
_ERRORS_MAX: Final = 10
# Where a batch holds a bad event, its events are taken apart: 60 bytes of memory for each comma.
_COMMAS_MAX: Final = 500_000

_HALF_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_PATH: Final = re.compile(r"at `\$\.(\w+)`$")


Key = Annotated[str, Meta(min_length=1, max_length=KEY_MAX_CHARACTERS)]
ConnectionId = Annotated[str, Meta(pattern=CONNECTION_ID_PATTERN)]


class UserAudience(Struct, frozen=True, forbid_unknown_fields=True):
    """Every connection of one user."""

    user: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=USER_ID_MAX_BYTES,
            description=f"The user's id: 1 to {USER_ID_MAX_BYTES} bytes in UTF-8.",
            examples=["alice"],
        ),
    ]


class NewEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event to publish."""

    audience: Annotated[
        Literal["all", "authenticated"] | UserAudience,
        Meta(
            description="Who receives the event: every connection, every authenticated one, or "
            "every connection of one user.",
            extra={"expected": '"all", "authenticated" or {"user": "<id>"}'},
        ),
    ]
    type: Annotated[
        str,
        Meta(
            pattern=TYPE_PATTERN,
            description="What happened, such as order.updated.",
            examples=["order.updated"],
            extra={
                "expected": "1 to 128 characters out of A-Z a-z 0-9 . _ : / -, "
                "with a letter or digit first"
            },
        ),
    ]
    data: Annotated[
        Raw,
        Meta(
            description="Any JSON. Reaches the clients byte for byte.", extra={"expected": "JSON"}
        ),
    ]
    key: Annotated[
        Key | None,
        Meta(
            description="Idempotency key, of this caller for this audience: a second event with "
            "the same key is not published. The Idempotency-Key header is the same.",
            extra={"expected": f"a string of 1 to {KEY_MAX_CHARACTERS} characters"},
        ),
    ] = None
    exclude: Annotated[
        ConnectionId | None,
        Meta(
            description="A connection that must not receive the event: `connection` of its "
            "welcome message.",
            extra={"expected": "a connection's id: 1 to 64 characters out of A-Z a-z 0-9 _ -"},
        ),
    ] = None


class NewEvents(Struct, frozen=True, forbid_unknown_fields=True):
    """Events to publish, in this order."""

    events: list[NewEvent]


class Receipt(Struct, frozen=True):
    """What became of an event."""

    id: Annotated[
        str,
        Meta(
            description="The event's id, as its receivers see it; of the first event with the "
            "same key when it is a duplicate.",
            examples=["1732440000000000"],
        ),
    ]
    duplicate: Annotated[
        bool, Meta(description="Whether an event with the same key was published before.")
    ]
    gateways: Annotated[
        int, Meta(ge=0, description="Gateway pods that Redis passed the event on to.")
    ]


class BatchResult(Struct, frozen=True, omit_defaults=True):
    """What became of one event of a batch: a receipt's fields, or a problem."""

    status: Annotated[
        int, Meta(description="The status that the event alone would have been answered with.")
    ]
    id: Annotated[str | UnsetType, Meta(description="See Receipt.")] = UNSET
    duplicate: Annotated[bool | UnsetType, Meta(description="See Receipt.")] = UNSET
    gateways: Annotated[int | UnsetType, Meta(description="See Receipt.")] = UNSET
    problem: Problem | UnsetType = UNSET


class BatchReceipt(Struct, frozen=True):
    """What became of a batch: one result for each event, in the same order."""

    results: list[BatchResult]


_SECONDS_MAX: Final = 253_402_300_799  # the last second of the year 9999
Seconds = Annotated[float, Meta(ge=0, le=_SECONDS_MAX)]

REASON_MAX_CHARACTERS: Final = 123


class DisconnectUser(Struct, frozen=True, forbid_unknown_fields=True):
    """How to close a user's connections."""

    reason: Annotated[
        Annotated[str, Meta(max_length=REASON_MAX_CHARACTERS)] | None,
        Meta(
            description="What the user's clients are told, cut to 123 bytes in UTF-8.",
            examples=["your plan has changed"],
            extra={"expected": f"a string of at most {REASON_MAX_CHARACTERS} characters"},
        ),
    ] = None
    reconnect: Annotated[
        bool,
        Meta(
            description="Whether the clients may come back by themselves: close code 4409 if so, "
            "4403 if not.",
            extra={"expected": "true or false"},
        ),
    ] = True
    revoke: Annotated[
        bool,
        Meta(
            description="Revoke all tokens of the user that were issued before now, too.",
            extra={"expected": "true or false"},
        ),
    ] = False


class RevokeUser(Struct, frozen=True, forbid_unknown_fields=True):
    """Which tokens of a user to revoke."""

    issued_before: Annotated[
        Seconds | None,
        Meta(
            description="Tokens whose `iat` lies before this moment, in seconds since 1970, or "
            "that have none. Default: now.",
            extra={"expected": "seconds since 1970"},
        ),
    ] = None


class RevokeToken(Struct, frozen=True, forbid_unknown_fields=True):
    """For how long to revoke a token."""

    expires_at: Annotated[
        Seconds | None,
        Meta(
            description="The token's `exp`, in seconds since 1970: later, the revocation is "
            "forgotten. Default: CLARION_TOKEN_MAX_SECONDS from now.",
            extra={"expected": "seconds since 1970"},
        ),
    ] = None


class OrderReceipt(Struct, frozen=True):
    """What became of an order to all gateways."""

    gateways: Annotated[
        int,
        Meta(
            ge=0,
            description="Gateway pods that were told at once. A pod that has lost Redis carries "
            "the order out when it comes back.",
        ),
    ]


class _RawEvents(Struct, frozen=True, forbid_unknown_fields=True):
    events: list[Raw]


@dataclass(frozen=True, slots=True)
class _Field:
    """How to check one field by itself, and what to say when it is wrong."""

    decoder: msgspec.json.Decoder[Any]
    expected: str
    required: bool


_Fields = Mapping[str, _Field]


def _fields(cls: type[Struct]) -> _Fields:
    return {
        field.encode_name: _Field(
            msgspec.json.Decoder(field.type), _expected(field.type), field.required
        )
        for field in msgspec.structs.fields(cls)
    }


def _expected(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    text: str = next(meta.extra["expected"] for meta in annotation.__metadata__ if meta.extra)
    return text


_FIELDS: Final = _fields(NewEvent)
_EVENT: Final = msgspec.json.Decoder(NewEvent)
_EVENTS: Final = msgspec.json.Decoder(NewEvents)
_RAW_EVENTS: Final = msgspec.json.Decoder(_RawEvents)
_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])


def decode_event(body: bytes) -> NewEvent:
    """The event in a request's body.

    Raises:
        Refusal: the body is not JSON, or not an event.
    """
    check_text(body)
    try:
        return _EVENT.decode(body)
    except ValidationError:
        raise invalid_event(*_field_errors(_syntax_checked(body), _FIELDS)) from None
    except (DecodeError, RecursionError) as error:
        raise _malformed(body, error) from None


AnyBody = TypeVar("AnyBody", DisconnectUser, RevokeUser, RevokeToken)


def decode_body(cls: type[AnyBody], body: bytes) -> AnyBody:
    """What a request beside publishing says; no body at all stands for ``{}``.

    Raises:
        Refusal: the body is not JSON, or its fields are wrong.
    """
    if not body:
        return cls()
    check_text(body)
    try:
        return msgspec.json.decode(body, type=cls)
    except ValidationError:
        errors = _field_errors(_syntax_checked(body), _fields(cls))
        raise invalid(INVALID_REQUEST, *errors) from None
    except (DecodeError, RecursionError) as error:
        raise _malformed(body, error) from None


def decode_batch(body: bytes, *, max_events: int) -> list[NewEvent | Refusal]:
    """The events in a request's body; a bad one's refusal stands in its place.

    Raises:
        Refusal: the body is not JSON, or not a batch.
    """
    check_text(body)
    events: list[NewEvent | Refusal]
    try:
        events = [*_EVENTS.decode(body).events]
    except ValidationError as error:
        events = [_event_or_refusal(raw) for raw in _raw_events(body, error, max_events)]
    except (DecodeError, RecursionError) as error:
        raise _malformed(body, error) from None
    _check_count(len(events), max_events)
    return events


def check_text(body: bytes) -> None:
    """Let only UTF-8 pass (RFC 8259, section 8.1): msgspec does not look inside of `data`.

    Raises:
        Refusal: the body is no UTF-8.
    """
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        detail = f"expected JSON in UTF-8, got other bytes (byte {error.start})"
        raise Refusal(MALFORMED_JSON, detail) from None


def _raw_events(body: bytes, error: ValidationError, max_events: int) -> list[Raw]:
    """The events of a batch that holds bad ones, apart.

    Raises:
        Refusal: this is no batch, or taking it apart would cost too much memory.
    """
    if body.count(b",") > _COMMAS_MAX:
        raise _invalid_batch(FieldError("/events", "valid events", str(error)[:200]))
    try:
        raws = _RAW_EVENTS.decode(body).events
    except ValidationError:
        expected = '{"events": [...]} and no other fields'
        raise _invalid_batch(FieldError("", expected, _shown(Raw(body.strip())))) from None
    except (DecodeError, RecursionError) as malformed:
        raise _malformed(body, malformed) from None
    _check_count(len(raws), max_events)
    return raws


def _event_or_refusal(raw: Raw) -> NewEvent | Refusal:
    try:
        return _EVENT.decode(raw)
    except ValidationError:
        return invalid_event(*_field_errors(raw, _FIELDS))


def _check_count(count: int, max_events: int) -> None:
    if count > max_events:
        raise _invalid_batch(FieldError("/events", f"at most {max_events} events", str(count)))


def _invalid_batch(error: FieldError) -> Refusal:
    detail = f"expected {error.expected}, got {error.got}"
    return Refusal(INVALID_BATCH, detail, errors=[error])


def _malformed(body: bytes, error: Exception) -> Refusal:
    if isinstance(error, RecursionError):
        return Refusal(MALFORMED_JSON, "the JSON is nested too deeply")
    if _HALF_PAIR.search(body):
        return Refusal(MALFORMED_JSON, "an escape \\uD800 to \\uDBFF lacks its other half")
    return Refusal(MALFORMED_JSON, str(error))


def _syntax_checked(body: bytes) -> Raw:
    """The body, once more: a bad field ends msgspec's reading before a syntax error behind it."""
    try:
        return msgspec.json.decode(body, type=Raw)
    except (DecodeError, RecursionError) as error:
        raise _malformed(body, error) from None


def _field_errors(raw: Raw, known: _Fields) -> list[FieldError]:
    """All that is wrong with an object; msgspec itself stops at the first bad field."""
    try:
        got = _OBJECT.decode(raw)
    except ValidationError:
        return [FieldError("", "a JSON object", _shown(raw))]
    errors = []
    for name, field in known.items():
        if name in got:
            errors += _value_errors(name, field, got[name])
        elif field.required:
            errors.append(FieldError(f"/{name}", field.expected, "nothing"))
    names = ", ".join(known)
    errors += [
        FieldError(_pointer(name), f"no fields but {names}", _shown(value))
        for name, value in got.items()
        if name not in known
    ]
    return errors[:_ERRORS_MAX]


def _value_errors(name: str, field: _Field, value: Raw) -> list[FieldError]:
    try:
        field.decoder.decode(value)
    except ValidationError as error:
        inner = _PATH.search(str(error))  # only {"user": ...} has an inside
        if inner is None:
            return [FieldError(f"/{name}", field.expected, _shown(value))]
        value = _OBJECT.decode(value)[inner[1]]
        return [FieldError(f"/{name}/{inner[1]}", USER_EXPECTED, _shown(value))]
    return []


def _pointer(name: str) -> str:
    """The JSON pointer of a field that a client made up (RFC 6901, section 3)."""
    if len(name) > _SHOWN_MAX_CHARACTERS:
        name = name[:_SHOWN_MAX_CHARACTERS] + "…"
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _shown(raw: Raw) -> str:
    """A JSON value as a problem shows it: short ones as they are, others by their kind."""
    text = bytes(raw).decode()
    if text.startswith("{"):
        return "an object"
    if text.startswith("["):
        return "an array"
    if len(text) <= _SHOWN_MAX_CHARACTERS:
        return text
    return f"a string of {len(text) - 2} characters" if text.startswith('"') else "a long number"
