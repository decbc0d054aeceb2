"""CloudEvents 1.0 over HTTP: reads them in structured, binary and batched mode.

Sources: the CloudEvents specification 1.0.2, its HTTP protocol binding, its JSON event format, and
its extension for distributed tracing. `decode_cloudevent` and `decode_cloudevents` make of them the
same events that Clarion's own JSON makes.

An event's ``id`` and ``source`` are its idempotency key. ``clarionaudience`` names its recipients,
or a rule does (`clarion_publisher.audience_rules`). Other extension attributes are allowed, and do
not reach the clients.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import Enum, auto
from typing import Annotated, Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from clarion_contract.events.audience import (
    Audience,
    UnknownKind,
    audience_forms,
    parse_audience,
)
from clarion_contract.events.event import to_the_end
from clarion_contract.events.naming import InvalidName
from clarion_contract.service.telemetry import is_sampled, read_traceparent
from clarion_publisher.audience_rules import SUBJECT, AudienceRules
from clarion_publisher.ingestion.admission import producer_key
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.refusal import FieldError, Refusal, invalid_event
from clarion_publisher.sources.http.decoder import (
    BatchForm,
    decode_each,
    decode_one,
    decode_text,
    shown,
)
from clarion_publisher.sources.http.exchange import Headers
from clarion_publisher.sources.http.problems import (
    INVALID_EVENT,
    UNSUPPORTED_MEDIA_TYPE,
    HttpRefusal,
)
from clarion_publisher.sources.http.schemas import EventType, Excluded

STRUCTURED_TYPE: Final = "application/cloudevents+json"
BATCH_TYPE: Final = "application/cloudevents-batch+json"
NO_RULES: Final = AudienceRules()
AUDIENCE_PATTERN: Final = r"^(all|authenticated|(user|topic):.+)$"

_JSON: Final = b"application/json"
_PREFIX: Final = b"ce-"
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]+")
_BASE64_EXPECTED: Final = "JSON in base64"
_JSON_EXPECTED: Final = "a content type of JSON in UTF-8: Clarion carries nothing else"


class Mode(Enum):
    """The content modes of CloudEvents (HTTP protocol binding, section 3)."""

    BINARY = auto()
    STRUCTURED = auto()
    BATCH = auto()


class CloudEvent(Struct, frozen=True):
    """A CloudEvent to publish. Further attributes are allowed, and do not reach the clients."""

    specversion: Annotated[
        Literal["1.0"],
        Meta(description="The version of CloudEvents.", extra={"expected": '"1.0"'}),
    ]
    id: Annotated[
        str,
        Meta(
            min_length=1,
            description="With `source`, the idempotency key: a second event that has both is not "
            "published.",
            examples=["order-42-sent"],
            extra={"expected": "a string that is not empty"},
        ),
    ]
    source: Annotated[
        str,
        Meta(
            min_length=1,
            description="The producer, as a URI reference.",
            examples=["/shop/orders"],
            extra={"expected": "a URI reference that is not empty"},
        ),
    ]
    type: EventType
    clarionaudience: Annotated[
        Annotated[str, Meta(pattern=to_the_end(AUDIENCE_PATTERN))] | None,
        Meta(
            description=f"Who receives the event: {audience_forms()}. Required, unless a rule of "
            "`PUBLISHER_CLOUDEVENTS_AUDIENCES` covers the type.",
            examples=["user:alice"],
            extra={"expected": audience_forms()},
        ),
    ] = None
    subject: Annotated[
        str | None,
        Meta(
            description="What the event is about. A rule may make the audience of it.",
            examples=["42"],
            extra={"expected": "a string"},
        ),
    ] = None
    clarionexclude: Excluded = None
    clarionhistory: Annotated[
        # Text in binary mode, and from brokers that make a structured event of a binary one: they
        # do not know the type of an extension.
        bool | Literal["true", "false"],
        Meta(
            description="Whether clients that come back later get the event.",
            extra={"expected": "true or false"},
        ),
    ] = True
    datacontenttype: Annotated[
        str | None,
        Meta(
            description="The content type of the data: JSON, in UTF-8.",
            examples=["application/json"],
            extra={"expected": _JSON_EXPECTED},
        ),
    ] = None
    traceparent: Annotated[
        str | None,
        Meta(
            description="The event's trace (W3C Trace Context); it goes before the header. An "
            "invalid one is ignored.",
            extra={"expected": "a W3C traceparent"},
        ),
    ] = None
    data: Annotated[
        Raw,
        Meta(
            description="Any JSON. Reaches the clients byte for byte. Absent: null.",
            extra={"expected": "JSON"},
        ),
    ] = msgspec.field(default_factory=lambda: Raw(b""))
    data_base64: Annotated[
        str | UnsetType | None,
        Meta(
            description="The data instead, as JSON text in base64.",
            extra={"expected": _BASE64_EXPECTED},
        ),
    ] = UNSET


_EVENT: Final = msgspec.json.Decoder(CloudEvent)
_BATCH: Final = BatchForm(
    _EVENT,
    msgspec.json.Decoder(list[CloudEvent]).decode,
    msgspec.json.Decoder(list[Raw]).decode,
    "",
    "an array of CloudEvents",
)


def mode_of(headers: Headers) -> Mode | None:
    """The content mode of a request; None: it carries no CloudEvents.

    Raises:
        Refusal: it carries them in another format than JSON.
    """
    content_type = headers.get(b"content-type", b"")
    if content_type != _JSON:
        kind = content_type.partition(b";")[0].strip().lower()
        if kind.startswith(b"application/cloudevents"):
            return _structured(kind, content_type)
    return Mode.BINARY if b"ce-specversion" in headers or b"ce-id" in headers else None


def decode_cloudevent(
    mode: Mode, headers: Headers, body: bytes, *, rules: AudienceRules = NO_RULES
) -> tuple[IncomingEvent, str | None]:
    """The event of a request in structured or binary mode, and the event's own traceparent.

    Args:
        rules: for an event without ``clarionaudience``.

    Raises:
        Refusal: it is no CloudEvent, or Clarion cannot carry it.
    """
    _check_no_key(headers)
    if mode is Mode.BINARY:
        event, data = _binary(headers, body)
    else:
        event = decode_one(_EVENT, body, INVALID_EVENT)
        data = _data(event)
    return _incoming(event, data, rules), _trace(event)


def decode_cloudevents(
    headers: Headers, body: bytes, *, max_events: int, rules: AudienceRules = NO_RULES
) -> list[IncomingEvent | Refusal]:
    """The events of a batch. A bad event's refusal stands in its place.

    Raises:
        Refusal: the body is not JSON, or not a batch.
    """
    _check_no_key(headers)
    return [
        event if isinstance(event, Refusal) else _incoming_or_refusal(event, rules)
        for event in decode_each(_BATCH, body, max_events=max_events)
    ]


def _structured(kind: bytes, content_type: bytes) -> Mode:
    modes = {STRUCTURED_TYPE.encode(): Mode.STRUCTURED, BATCH_TYPE.encode(): Mode.BATCH}
    if kind not in modes or not _is_utf8(content_type):
        raise HttpRefusal(
            UNSUPPORTED_MEDIA_TYPE,
            f"expected {STRUCTURED_TYPE} or {BATCH_TYPE} in UTF-8, got "
            f"{content_type[:64].decode('latin-1')}",
            headers=[("accept-post", f"application/json, {STRUCTURED_TYPE}, {BATCH_TYPE}")],
        )
    return modes[kind]


def _check_no_key(headers: Headers) -> None:
    if b"idempotency-key" in headers:
        expected = "id and source as the idempotency key"
        raise invalid_event(FieldError("/id", expected, "an Idempotency-Key header"))


def _binary(headers: Headers, body: bytes) -> tuple[CloudEvent, bytes]:
    """The attributes from the headers, and the body as data (section 3.1)."""
    attributes: dict[str, str | bool] = {}
    for header, value in headers.items():
        name = header.removeprefix(_PREFIX).decode("latin-1")
        taken = _ATTRIBUTE.fullmatch(name) and name not in {"data", "datacontenttype"}
        if header.startswith(_PREFIX) and taken:
            attributes[name] = _text(name, value)
    if b"content-type" in headers:
        attributes["datacontenttype"] = headers[b"content-type"].decode("latin-1")
    event = decode_one(_EVENT, msgspec.json.encode(attributes), INVALID_EVENT)
    _check_content_type(event)
    return event, bytes(decode_text(body)) if body.strip() else b"null"


def _text(name: str, value: bytes) -> str:
    """An attribute from a header's value: unquoted, then percent-decoded (section 3.1.3.2).

    Raises:
        Refusal: it is not UTF-8.
    """
    if len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1])
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        error = FieldError(f"/{name}", "percent-encoded UTF-8 in its header", "other bytes")
        raise invalid_event(error) from None


def _incoming_or_refusal(event: CloudEvent, rules: AudienceRules) -> IncomingEvent | Refusal:
    try:
        return _incoming(event, _data(event), rules, trace=_trace(event))
    except Refusal as refusal:
        return refusal


def _incoming(
    event: CloudEvent, data: bytes, rules: AudienceRules, *, trace: str | None = None
) -> IncomingEvent:
    return IncomingEvent(
        _audience(event, rules),
        event.type,
        data,
        f"cloudevent:{producer_key(event.source, event.id)}",
        event.clarionexclude,
        event.clarionhistory in (True, "true"),
        trace if trace is None or is_sampled(trace) else "",
    )


def _trace(event: CloudEvent) -> str | None:
    if event.traceparent is None:
        return None
    return read_traceparent(event.traceparent.encode("utf-8", "surrogatepass"))


def _audience(event: CloudEvent, rules: AudienceRules) -> Audience:
    """The event's own audience, or that of the rule for its type."""
    if event.clarionaudience is not None:
        return _parsed("/clarionaudience", event.clarionaudience, event.clarionaudience)
    text = rules.find(event.type)
    if text is None:
        raise invalid_event(FieldError("/clarionaudience", audience_forms(), "nothing"))
    if SUBJECT not in text:
        return parse_audience(text)
    if not event.subject:
        raise invalid_event(FieldError("/subject", f"a subject, for {text}", "nothing"))
    return _parsed("/subject", text.replace(SUBJECT, event.subject), event.subject)


def _parsed(pointer: str, text: str, given: str) -> Audience:
    try:
        return parse_audience(text)
    except (InvalidName, UnknownKind) as error:
        got = shown(Raw(msgspec.json.encode(given)))
        expected = str(error).removeprefix("expected ").partition(", got ")[0]
        raise invalid_event(FieldError(pointer, expected, got)) from None


def _data(event: CloudEvent) -> bytes:
    """The event's data as JSON text (JSON event format, section 3.1)."""
    _check_content_type(event)
    data = bytes(event.data)
    if event.data_base64 is UNSET or event.data_base64 is None:
        return data or b"null"
    if data:
        expected = "data or data_base64, not both"
        raise invalid_event(FieldError("/data_base64", expected, "both"))
    try:
        return bytes(decode_text(base64.b64decode(event.data_base64, validate=True)))
    except (binascii.Error, ValueError):
        raise invalid_event(FieldError("/data_base64", _BASE64_EXPECTED, "no base64")) from None
    except Refusal as refusal:
        raise invalid_event(FieldError("/data_base64", _BASE64_EXPECTED, refusal.detail)) from None


def _check_content_type(event: CloudEvent) -> None:
    """Refuse data that is not JSON, which means a subtype ``json`` or ``…+json`` (section 3.1)."""
    content_type = event.datacontenttype
    if content_type is None:
        return
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind.endswith(("/json", "+json"))
    if not is_json or not _is_utf8(content_type.encode("utf-8", "replace")):
        got = shown(Raw(msgspec.json.encode(content_type)))
        raise invalid_event(FieldError("/datacontenttype", _JSON_EXPECTED, got))


def _is_utf8(content_type: bytes) -> bool:
    """Whether a content type names no charset but UTF-8."""
    _, _, parameters = content_type.lower().partition(b";")
    charset = re.search(rb"charset\s*=\s*\"?([^\s;\"]*)", parameters)
    return charset is None or charset[1] in {b"utf-8", b"us-ascii"}
