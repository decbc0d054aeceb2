"""The OpenAPI document.

FastAPI generates the operations on users and tokens from their routes. The two publishing paths
bypass FastAPI, so their part is written here. The schemas of bodies come from the classes that
decode them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec import Struct

from clarion_contract.events.audience import namings
from clarion_contract.events.catalogue import Catalogue
from clarion_publisher.sources.http import problems
from clarion_publisher.sources.http.cloudevents import BATCH_TYPE, STRUCTURED_TYPE, CloudEvent
from clarion_publisher.sources.http.declared import add_declared_events
from clarion_publisher.sources.http.problems import CONTENT_TYPE, Problem, Row
from clarion_publisher.sources.http.routes import BATCH_PATH, EVENTS_PATH, HEADER_KEY_PATTERN
from clarion_publisher.sources.http.schemas import (
    BatchReceipt,
    ChangeTopics,
    DisconnectUser,
    NewEvent,
    NewEvents,
    Receipt,
    RevokeToken,
    RevokeUser,
    WritePiece,
)

_DESCRIPTION: Final = (
    "Publishes events to every open connection, to every authenticated one, to one user's, or to "
    "the subscribers of a topic. "
    "Problems are RFC 9457 documents; docs/errors.md lists them."
)
_TAGS: Final = [
    {"name": "events", "description": "Publishing events."},
    {
        "name": "users",
        "description": "Shows who is connected, disconnects users, and revokes tokens.",
    },
]
_SERVER: Final = "The publisher that this document comes from."

_REFERENCE: Final = "#/components/schemas/{name}"

# The refusals that every path has in addition to its own.
ALWAYS: Final = (
    problems.MALFORMED_REQUEST,
    problems.UNAUTHENTICATED,
    problems.INVALID_TOKEN,
    problems.REQUEST_TIMEOUT,
    problems.HEAD_TOO_LARGE,
    problems.INTERNAL,
    problems.BUS_REFUSED,
    problems.BUS_UNAVAILABLE,
    problems.KEYS_UNAVAILABLE,
)
# Further refusals of paths that take a body.
WITH_BODY: Final = (
    *ALWAYS,
    problems.MALFORMED_JSON,
    problems.BODY_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE,
    problems.OVERLOADED,
)
_EVENT: Final = (
    problems.RATE_LIMITED,
    problems.INSUFFICIENT_SCOPE,
    problems.DATA_TOO_LARGE,
    problems.INVALID_EVENT,
    problems.INVALID_BATCH,
    problems.KEY_REUSED,
)
_BATCH: Final = (problems.RATE_LIMITED, problems.INVALID_BATCH)

_NEW_EVENT: Final = {
    "audience": {"user": "alice"},
    "type": "order.updated",
    "data": {"order": 42, "state": "sent"},
    "key": "order-42-sent",
}
_CLOUD_EVENT: Final = {
    "specversion": "1.0",
    "id": "order-42-sent",
    "source": "/shop/orders",
    "type": "order.updated",
    "clarionaudience": "user:alice",
    "datacontenttype": "application/json",
    "data": {"order": 42, "state": "sent"},
}
_RECEIPT: Final = {"id": "1732440000000000", "duplicate": False, "gateways": 3}
_EXAMPLES: Final[dict[type[Struct], dict[str, Any]]] = {
    NewEvent: _NEW_EVENT,
    NewEvents: {"events": [_NEW_EVENT, {"audience": "all", "type": "news", "data": "Hello"}]},
    CloudEvent: _CLOUD_EVENT,
    Receipt: _RECEIPT,
    BatchReceipt: {"results": [{"status": 201, **_RECEIPT}]},
    DisconnectUser: {"reason": "your plan has changed", "reconnect": True},
    ChangeTopics: {"add": ["order.42"], "remove": ["order.7"]},
    WritePiece: {"seq": 1, "text": "Hello", "type": "answer"},
    RevokeUser: {"issued_before": 1_732_440_000},
    RevokeToken: {"expires_at": 1_732_443_600},
}


def openapi_document(
    app: FastAPI,
    *,
    version: str,
    batch_max_events: int,
    path_prefix: str = "",
    catalogue: Catalogue | None = None,
) -> dict[str, Any]:
    """The document for ``/openapi.json``.

    Args:
        app: its routes must be complete.
        path_prefix: the beginning of all paths as clients see them.
        catalogue: of declared events; None: there is none.
    """
    document = get_openapi(
        title=app.title,
        version=version,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=_TAGS,
        servers=[{"url": path_prefix or "/", "description": _SERVER}],
    )
    _, components = msgspec.json.schema_components([*_EXAMPLES, Problem], ref_template=_REFERENCE)
    _publish_patterns(components)
    components["NewEvents"]["properties"]["events"]["maxItems"] = batch_max_events
    _split_by_kind(components)
    document["paths"] = {
        EVENTS_PATH: {"post": _publish_event(batch_max_events)},
        BATCH_PATH: {"post": _publish_events()},
        **document["paths"],
    }
    document["components"]["schemas"].update(components)
    if catalogue is not None:
        add_declared_events(document, catalogue, path=EVENTS_PATH)
    return document


def request_body(cls: type[Struct], *, required: bool) -> dict[str, Any]:
    """The part of an operation that describes its body."""
    return {"requestBody": {"required": required, "content": _json(cls)}}


def success(example: object) -> dict[int | str, dict[str, Any]]:
    """An example for a response that FastAPI documents by itself."""
    return {200: {"content": {"application/json": {"example": example}}}}


def refusals(rows: Iterable[Row]) -> dict[int | str, dict[str, Any]]:
    """One response for each status, with its problems."""
    by_status: dict[int, list[Row]] = {}
    for row in rows:
        by_status.setdefault(row.status, []).append(row)
    return {
        status: {
            "description": ". ".join(f"{row.title} ({row.name})" for row in same_status),
            **_headers(status),
            "content": {
                CONTENT_TYPE: {
                    "schema": _schema(Problem),
                    "examples": {row.name: _example(row) for row in same_status},
                }
            },
        }
        for status, same_status in sorted(by_status.items())
    }


def _publish_patterns(node: Any) -> None:  # noqa: ANN401 - any JSON
    """Undo `to_the_end`, because only Python knows ``\\Z``."""
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            node["pattern"] = re.sub(r"\\Z$", "$", node["pattern"])
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            _publish_patterns(each)


def _split_by_kind(components: dict[str, Any]) -> None:
    """Show an audience with a name as one schema for each kind: the decoder knows them as one."""
    named = components.pop("NamedAudience")
    split = {f"{kind.capitalize()}Audience": kind for kind in named["properties"]}
    for name, kind in split.items():
        components[name] = {
            "title": name,
            "description": f"{namings()[kind].audience.capitalize()}.",
            "type": "object",
            "properties": {kind: named["properties"][kind]},
            "required": [kind],
            "additionalProperties": False,
        }
    audience = components["NewEvent"]["properties"]["audience"]
    shared = [each for each in audience["anyOf"] if "enum" in each]
    audience["anyOf"] = shared + [{"$ref": _REFERENCE.format(name=name)} for name in split]


def _publish_event(batch_max_events: int) -> dict[str, Any]:
    batch = {
        "schema": {
            "type": "array",
            "items": _schema(CloudEvent),
            "maxItems": batch_max_events,
        },
        "example": [_CLOUD_EVENT],
    }
    return {
        "tags": ["events"],
        "operationId": "publishEvent",
        "summary": "Publish one event, or CloudEvents",
        "description": "Needs the scope of the event's audience. CloudEvents 1.0 are taken in all "
        "modes of their HTTP binding: structured and batched as below; in binary mode, the body is "
        "the data, and the attributes stand in headers (`ce-specversion`, `ce-id`, `ce-source`, "
        "`ce-type`, `ce-clarionaudience`). A batch is answered as on the path for batches.",
        "security": [{"bearer": []}],
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same as `key`: plain, or a quoted string. Not with "
                "CloudEvents.",
                "schema": {"type": "string", "pattern": HEADER_KEY_PATTERN},
                "example": "order-42-sent",
            },
            _traceparent(),
        ],
        "requestBody": {
            "required": True,
            "content": {
                **_json(NewEvent),
                STRUCTURED_TYPE: _json(CloudEvent)["application/json"],
                BATCH_TYPE: batch,
            },
        },
        "responses": {
            "201": _answer("The event is published.", Receipt),
            "200": _answer(
                "An event with this key was published before. Or: every event of a batch of "
                "CloudEvents is published.",
                Receipt,
                BatchReceipt,
            ),
            "207": _answer("Some CloudEvents of a batch are not published.", BatchReceipt),
            **_by_text(refusals((*WITH_BODY, *_EVENT))),
        },
    }


def _publish_events() -> dict[str, Any]:
    return {
        "tags": ["events"],
        "operationId": "publishEvents",
        "summary": "Publish events, in this order",
        "description": "Events are independent: a bad one does not keep the others from being "
        "published.",
        "security": [{"bearer": []}],
        "parameters": [_traceparent()],
        **request_body(NewEvents, required=True),
        "responses": {
            "200": _answer("Every event is published.", BatchReceipt),
            "207": _answer("Some events are not published; see each result.", BatchReceipt),
            **_by_text(refusals((*WITH_BODY, *_BATCH))),
        },
    }


def _traceparent() -> dict[str, Any]:
    return {
        "name": "traceparent",
        "in": "header",
        "description": "W3C Trace Context. Its sampling decision is respected. An invalid one is "
        "ignored.",
        "schema": {"type": "string"},
        "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }


def _answer(description: str, cls: type[Struct], *others: type[Struct]) -> dict[str, Any]:
    content = _json(cls)
    if others:
        content["application/json"]["schema"] = {"anyOf": [*map(_schema, (cls, *others))]}
    return {"description": description, "content": content}


def _json(cls: type[Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": _schema(cls), "example": _EXAMPLES[cls]}}


def _example(row: Row) -> dict[str, Any]:
    problem = Problem(row.type, row.title, row.status, "What happened this time.", row.retryable)
    return {"summary": row.title, "value": msgspec.to_builtins(problem)}


def _headers(status: int) -> dict[str, Any]:
    if status in {401, 403}:
        return {"headers": {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}}}
    if status in {429, 503}:
        seconds = {"required": True, "schema": {"type": "integer", "minimum": 1}}
        return {"headers": {"Retry-After": seconds}}
    return {}


def _by_text(responses: dict[int | str, dict[str, Any]]) -> dict[str, Any]:
    return {str(status): response for status, response in responses.items()}


def _schema(cls: type[Struct]) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name=cls.__name__)}
