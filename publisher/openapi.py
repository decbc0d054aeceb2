"""The OpenAPI document: paths by hand, components from the classes that also decode and encode.

The routes take plain ASGI, so FastAPI cannot read them itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from publisher import problems
from publisher.authorise import SCOPES
from publisher.problems import CONTENT_TYPE, Problem, Row
from publisher.routes import BATCH_PATH, EVENTS_PATH, HEADER_KEY_PATTERN
from publisher.schemas import BatchReceipt, NewEvent, NewEvents, Receipt

_REFERENCE = "#/components/schemas/{name}"

# What every path may refuse with, beside its own.
_COMMON = (
    problems.MALFORMED_REQUEST,
    problems.MALFORMED_JSON,
    problems.UNAUTHENTICATED,
    problems.INVALID_TOKEN,
    problems.REQUEST_TIMEOUT,
    problems.BODY_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE,
    problems.RATE_LIMITED,
    problems.HEAD_TOO_LARGE,
    problems.INTERNAL,
    problems.BUS_UNAVAILABLE,
    problems.OVERLOADED,
    problems.KEYS_UNAVAILABLE,
)
_EVENT = (
    problems.INSUFFICIENT_SCOPE,
    problems.DATA_TOO_LARGE,
    problems.INVALID_EVENT,
    problems.KEY_REUSED,
)
_BATCH = (problems.INVALID_BATCH,)


def openapi_document(*, version: str, batch_max_events: int) -> dict[str, Any]:
    """The document for ``/openapi.json``."""
    _, components = msgspec.json.schema_components(
        [NewEvent, NewEvents, Receipt, BatchReceipt, Problem], ref_template=_REFERENCE
    )
    components["NewEvents"]["properties"]["events"]["maxItems"] = batch_max_events
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clarion publisher",
            "version": version,
            "description": "Publishes events to every open connection, to every authenticated "
            "one, or to one user's. Problems are RFC 9457 documents; docs/errors.md lists them.",
        },
        "paths": {
            EVENTS_PATH: {"post": _event_operation()},
            BATCH_PATH: {"post": _batch_operation()},
        },
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": f"`scope` holds {', '.join(SCOPES.values())}, for the audience "
                    "of each event.",
                }
            },
        },
    }


def _event_operation() -> dict[str, Any]:
    return {
        "operationId": "publishEvent",
        "summary": "Publish one event",
        "security": [{"bearer": []}],
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same as `key`: plain, or a quoted string.",
                "schema": {"type": "string", "pattern": HEADER_KEY_PATTERN},
            },
            _traceparent(),
        ],
        "requestBody": _body("NewEvent"),
        "responses": {
            "201": _answer("The event is published.", "Receipt"),
            "200": _answer("An event with this key was published before.", "Receipt"),
            **_refusals((*_COMMON, *_EVENT)),
        },
    }


def _batch_operation() -> dict[str, Any]:
    return {
        "operationId": "publishEvents",
        "summary": "Publish events, in this order",
        "description": "Each event stands for itself: a bad one keeps no other from being "
        "published.",
        "security": [{"bearer": []}],
        "parameters": [_traceparent()],
        "requestBody": _body("NewEvents"),
        "responses": {
            "200": _answer("Every event is published.", "BatchReceipt"),
            "207": _answer("Some events are not published; see each result.", "BatchReceipt"),
            **_refusals((*_COMMON, *_BATCH)),
        },
    }


def _traceparent() -> dict[str, Any]:
    return {
        "name": "traceparent",
        "in": "header",
        "description": "W3C Trace Context. Its sampling decision is respected; an invalid one "
        "counts as none.",
        "schema": {"type": "string"},
    }


def _body(schema: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _schema(schema)}}}


def _answer(description: str, schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": _schema(schema)}},
    }


def _refusals(rows: Iterable[Row]) -> dict[str, Any]:
    """One response for each status, naming its problems."""
    by_status: dict[int, list[Row]] = {}
    for row in rows:
        by_status.setdefault(row.status, []).append(row)
    return {
        str(status): {
            "description": ". ".join(f"{row.title} ({row.name})" for row in same_status),
            "headers": _headers(status),
            "content": {CONTENT_TYPE: {"schema": _schema("Problem")}},
        }
        for status, same_status in sorted(by_status.items())
    }


def _headers(status: int) -> dict[str, Any]:
    if status in {401, 403}:
        return {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}}
    if status in {429, 503}:
        return {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}}
    return {}


def _schema(name: str) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name=name)}
