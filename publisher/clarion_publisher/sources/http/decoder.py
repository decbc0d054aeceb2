"""Decodes a request's body into the classes of `schemas`, or into a list of all its errors.

Of ``data`` it checks only that it is JSON.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import DecodeError, Raw, Struct, ValidationError

from clarion_contract.events import surrogates
from clarion_contract.events.nesting import check_nesting, may_be_too_deep
from clarion_contract.events.pointers import json_pointer
from clarion_publisher.ingestion.refusal import FieldError, Refusal, invalid_event
from clarion_publisher.sources.http.problems import (
    INVALID_BATCH,
    INVALID_EVENT,
    INVALID_REQUEST,
    MALFORMED_JSON,
    HttpRefusal,
    Row,
    invalid,
)
from clarion_publisher.sources.http.schemas import NamedAudience, NewEvent, NewEvents

_SHOWN_MAX_CHARACTERS: Final = 40
_ERRORS_MAX: Final = 10
# A batch that holds a bad event is split into its events, which costs 60 bytes of memory per comma.
_COMMAS_MAX: Final = 500_000

_PATH: Final = re.compile(r"at `\$\.(\w+)`$")
_PLACE: Final = re.compile(r"at `\$\[(\d+)\]`$")

AnyBody = TypeVar("AnyBody", bound=Struct)


class _RawEvents(Struct, frozen=True, forbid_unknown_fields=True):
    events: list[Raw]


@dataclass(frozen=True, slots=True)
class BatchForm(Generic[AnyBody]):
    """The form of a batch.

    Attributes:
        one: decodes a single event.
        whole: decodes the batch, if all its events are good.
        split: splits the batch into its events.
        pointer: where the events stand in it.
        expected: the form in words.
    """

    one: msgspec.json.Decoder[AnyBody]
    whole: Callable[[bytes], list[AnyBody]]
    split: Callable[[bytes], list[Raw]]
    pointer: str
    expected: str


@dataclass(frozen=True, slots=True)
class _Field:
    """The check of a single field, and its rule in words.

    Attributes:
        each: the rule of each element, if the field is a list.
    """

    decoder: msgspec.json.Decoder[Any]
    expected: str
    each: str | None
    required: bool


@cache
def _fields(cls: type[Struct]) -> dict[str, _Field]:
    return {
        field.encode_name: _Field(
            msgspec.json.Decoder(field.type),
            (rules := _rules(field.type))["expected"],
            rules.get("each"),
            field.required,
        )
        for field in msgspec.structs.fields(cls)
    }


def _rules(annotation: Any) -> dict[str, str]:  # noqa: ANN401 - any annotation
    rules: dict[str, str] = next(meta.extra for meta in annotation.__metadata__ if meta.extra)
    return rules


_EVENT: Final = msgspec.json.Decoder(NewEvent)
_EVENTS: Final = msgspec.json.Decoder(NewEvents)
_RAW_EVENTS: Final = msgspec.json.Decoder(_RawEvents)
_BATCH: Final = BatchForm(
    _EVENT,
    lambda body: _EVENTS.decode(body).events,
    lambda body: _RAW_EVENTS.decode(body).events,
    "/events",
    '{"events": [...]} and no other fields',
)
_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_LIST: Final = msgspec.json.Decoder(list[Raw])


def decode_event(body: bytes) -> NewEvent:
    """The event in a request's body.

    Raises:
        Refusal: the body is not JSON, or not an event.
    """
    return decode_one(_EVENT, body, INVALID_EVENT)


def decode_body(cls: type[AnyBody], body: bytes) -> AnyBody:
    """The body of an operation other than publishing. An absent body counts as ``{}``.

    Raises:
        Refusal: the body is not JSON, or its fields are wrong.
    """
    return decode_one(msgspec.json.Decoder(cls), body, INVALID_REQUEST) if body else cls()


def decode_batch(body: bytes, *, max_events: int) -> list[NewEvent | Refusal]:
    """The events in a request's body. A bad event's refusal stands in its place.

    Raises:
        Refusal: the body is not JSON, or not a batch.
    """
    return decode_each(_BATCH, body, max_events=max_events)


def decode_each(
    form: BatchForm[AnyBody], body: bytes, *, max_events: int
) -> list[AnyBody | Refusal]:
    """The events of a batch of any form; see `decode_batch`."""
    check_text(body)
    events: list[AnyBody | Refusal]
    try:
        events = [*form.whole(body)]
        if may_be_too_deep(body):  # the batch may have many events, of a few levels each
            for raw in form.split(body):
                check_nesting(bytes(raw))
    except ValidationError as error:
        raws = _raw_events(form, body, error, max_events)
        events = [_event_or_refusal(form, raw) for raw in raws]
    except (DecodeError, RecursionError) as error:
        replaced = surrogates.replaced(body)
        if replaced is None:
            raise _malformed(body, error) from None
        text, stand_in = replaced
        try:
            raws = form.split(text)
        except (msgspec.MsgspecError, RecursionError):
            raise _malformed(body, error) from None
        _check_count(form, len(raws), max_events)
        events = [_without_surrogates(form, raw, stand_in) for raw in raws]
    _check_count(form, len(events), max_events)
    return events


def _without_surrogates(form: BatchForm[AnyBody], raw: Raw, stand_in: bytes) -> AnyBody | Refusal:
    """An event of a batch in which an escape stands for each lone surrogate."""
    try:
        fields = _OBJECT.decode(raw)
    except ValidationError:
        return _event_or_refusal(form, raw)
    pointers = [
        _pointer(name)
        for name, value in fields.items()
        if stand_in in bytes(value) or stand_in.decode("unicode-escape") in name
    ]
    if not pointers:
        return _event_or_refusal(form, raw)
    return invalid_event(
        *(FieldError(each, surrogates.EXPECTED, "a lone surrogate") for each in pointers)
    )


def check_text(body: bytes) -> None:
    """Refuse text that is not UTF-8 (RFC 8259, section 8.1): msgspec does not check inside `data`.

    Raises:
        Refusal: the body is not UTF-8.
    """
    if body.isascii():
        return
    if body.startswith(codecs.BOM_UTF8):
        raise HttpRefusal(MALFORMED_JSON, "expected JSON without a byte-order mark, got one")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        detail = f"expected JSON in UTF-8, got other bytes (byte {error.start})"
        raise HttpRefusal(MALFORMED_JSON, detail) from None


def decode_one(decoder: msgspec.json.Decoder[AnyBody], body: bytes, row: Row) -> AnyBody:
    """The object in a request's body.

    Args:
        row: the problem if its fields are wrong.

    Raises:
        Refusal: the body is not JSON, or its fields are wrong.
    """
    check_text(body)
    try:
        decoded = decoder.decode(body)
        check_nesting(body)
    except ValidationError:
        raise invalid(row, *_field_errors(_syntax_checked(body), decoder.type)) from None
    except (DecodeError, RecursionError) as error:
        raise _malformed(body, error) from None
    return decoded


def decode_text(body: bytes) -> Raw:
    """The JSON text that is the whole body, unchanged but for white space around it.

    Raises:
        Refusal: the body is not JSON.
    """
    check_text(body)
    return _syntax_checked(body)


def _raw_events(
    form: BatchForm[AnyBody], body: bytes, error: ValidationError, max_events: int
) -> list[Raw]:
    """Split a batch that holds bad events into its events.

    Raises:
        Refusal: the body is not a batch, or splitting it would cost too much memory.
    """
    if body.count(b",") > _COMMAS_MAX:
        raise _invalid_batch(FieldError(form.pointer, "valid events", str(error)[:200]))
    try:
        raws = form.split(body)
    except ValidationError:
        raise _invalid_batch(FieldError("", form.expected, shown(Raw(body.strip())))) from None
    except (DecodeError, RecursionError) as malformed:
        raise _malformed(body, malformed) from None
    _check_count(form, len(raws), max_events)
    return raws


def _event_or_refusal(form: BatchForm[AnyBody], raw: Raw) -> AnyBody | Refusal:
    try:
        return form.one.decode(raw)
    except ValidationError:
        return invalid_event(*_field_errors(raw, form.one.type))


def _check_count(form: BatchForm[AnyBody], count: int, max_events: int) -> None:
    if count > max_events:
        error = FieldError(form.pointer, f"at most {max_events} events", str(count))
        raise _invalid_batch(error)


def _invalid_batch(error: FieldError) -> HttpRefusal:
    detail = f"expected {error.expected}, got {error.got}"
    return HttpRefusal(INVALID_BATCH, detail, errors=[error])


def _malformed(body: bytes, error: Exception) -> HttpRefusal:
    if isinstance(error, RecursionError):
        return HttpRefusal(MALFORMED_JSON, "the JSON is nested too deeply")
    if surrogates.has_lone(body):
        return HttpRefusal(MALFORMED_JSON, f"expected {surrogates.EXPECTED}")
    return HttpRefusal(MALFORMED_JSON, str(error))


def _syntax_checked(body: bytes) -> Raw:
    """Parse the body again, because msgspec stops at a bad field, before later syntax errors."""
    try:
        raw = msgspec.json.decode(body, type=Raw)
        check_nesting(body)
    except (DecodeError, RecursionError) as error:
        raise _malformed(body, error) from None
    return raw


def _field_errors(raw: Raw, cls: type[Struct]) -> list[FieldError]:
    """All errors of an object; msgspec itself stops at the first bad field."""
    known = _fields(cls)
    try:
        got = _OBJECT.decode(raw)
    except ValidationError:
        return [FieldError("", "a JSON object", shown(raw))]
    errors = []
    for name, field in known.items():
        if name in got:
            errors += _value_errors(name, field, got[name])
        elif field.required:
            errors.append(FieldError(f"/{name}", field.expected, "nothing"))
    if cls.__struct_config__.forbid_unknown_fields:
        names = ", ".join(known)
        errors += [
            FieldError(_pointer(name), f"no fields but {names}", shown(value))
            for name, value in got.items()
            if name not in known
        ]
    # A field stands twice: the last value is here, and the first one was wrong.
    errors = errors or [FieldError("", "each field once", "a field more than once")]
    return errors[:_ERRORS_MAX]


def _value_errors(name: str, field: _Field, value: Raw) -> list[FieldError]:
    try:
        field.decoder.decode(value)
    except ValidationError as error:
        place = _PLACE.search(str(error))
        if field.each is not None and place is not None:
            value = _LIST.decode(value)[int(place[1])]
            return [FieldError(f"/{name}/{place[1]}", field.each, shown(value))]
        inner = _PATH.search(str(error))  # only an audience with a name has inner fields
        if inner is None:
            return [FieldError(f"/{name}", field.expected, shown(value))]
        value = _OBJECT.decode(value)[inner[1]]
        return [
            FieldError(
                f"/{name}/{inner[1]}", _fields(NamedAudience)[inner[1]].expected, shown(value)
            )
        ]
    return []


def _pointer(name: str) -> str:
    """The JSON pointer of a field name chosen by a client."""
    if len(name) > _SHOWN_MAX_CHARACTERS:
        name = name[:_SHOWN_MAX_CHARACTERS] + "…"
    return json_pointer(name)


def shown(raw: Raw) -> str:
    """A JSON value as a problem shows it: short values unchanged, others described."""
    text = bytes(raw).decode()
    if text.startswith("{"):
        return "an object"
    if text.startswith("["):
        return "an array"
    if len(text) <= _SHOWN_MAX_CHARACTERS:
        return text
    return f"a string of {len(text) - 2} characters" if text.startswith('"') else "a long number"
