"""The OpenAPI document: paths by hand, components from the classes that also decode and encode.

The routes take plain ASGI, so FastAPI cannot read them itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from clarion_contract.events.audience import USER_ID_MAX_BYTES
from clarion_publisher import problems
from clarion_publisher.authorise import DISCONNECT_USERS, READ_USERS, SCOPES
from clarion_publisher.problems import CONTENT_TYPE, Problem, Row
from clarion_publisher.routes import BATCH_PATH, EVENTS_PATH, HEADER_KEY_PATTERN
from clarion_publisher.schemas import (
    AllConnections,
    BatchReceipt,
    DisconnectReceipt,
    DisconnectUser,
    NewEvent,
    NewEvents,
    OrderReceipt,
    Receipt,
    RevokeToken,
    RevokeUser,
    UserPresence,
)
from clarion_publisher.users import (
    CONNECTIONS_PATH,
    DISCONNECT_PATH,
    REVOKE_TOKEN_PATH,
    REVOKE_USER_PATH,
    TOKEN_ID_MAX_BYTES,
    USER_PATH,
)

_REFERENCE = "#/components/schemas/{name}"

# What every path may refuse with, beside its own.
_ALWAYS = (
    problems.MALFORMED_REQUEST,
    problems.UNAUTHENTICATED,
    problems.INVALID_TOKEN,
    problems.REQUEST_TIMEOUT,
    problems.HEAD_TOO_LARGE,
    problems.INTERNAL,
    problems.BUS_UNAVAILABLE,
    problems.KEYS_UNAVAILABLE,
)
# And where there is a body.
_COMMON = (
    *_ALWAYS,
    problems.MALFORMED_JSON,
    problems.BODY_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE,
    problems.OVERLOADED,
)
_EVENT = (
    problems.RATE_LIMITED,
    problems.INSUFFICIENT_SCOPE,
    problems.DATA_TOO_LARGE,
    problems.INVALID_EVENT,
    problems.KEY_REUSED,
)
_BATCH = (problems.RATE_LIMITED, problems.INVALID_BATCH)
_USERS = (problems.INSUFFICIENT_SCOPE, problems.INVALID_REQUEST)


def openapi_document(*, version: str, batch_max_events: int) -> dict[str, Any]:
    """The document for ``/openapi.json``."""
    _, components = msgspec.json.schema_components(
        [
            NewEvent,
            NewEvents,
            Receipt,
            BatchReceipt,
            DisconnectReceipt,
            DisconnectUser,
            RevokeUser,
            RevokeToken,
            OrderReceipt,
            UserPresence,
            AllConnections,
            Problem,
        ],
        ref_template=_REFERENCE,
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
            USER_PATH: {
                "get": _reading(
                    "readUser", "Whether and where a user is connected", "UserPresence", _user()
                )
            },
            CONNECTIONS_PATH: {
                "get": _reading("readConnections", "What each gateway pod holds", "AllConnections")
            },
            DISCONNECT_PATH: {
                "post": _order(
                    "disconnectUser",
                    "Close all connections of a user, on every gateway",
                    _user(),
                    "DisconnectUser",
                    "DisconnectReceipt",
                )
            },
            REVOKE_USER_PATH: {
                "post": _order(
                    "revokeUser",
                    "Revoke a user's tokens of before a moment, and close what holds one",
                    _user(),
                    "RevokeUser",
                )
            },
            REVOKE_TOKEN_PATH: {
                "post": _order(
                    "revokeToken",
                    "Revoke one token, and close what holds it",
                    _name("token_id", "The token's `jti`, percent-encoded.", TOKEN_ID_MAX_BYTES),
                    "RevokeToken",
                )
            },
        },
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": f"`scope` holds {', '.join(SCOPES.values())}, for the audience "
                    f"of each event, or {READ_USERS}, {DISCONNECT_USERS}.",
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


def _reading(
    identifier: str, summary: str, schema: str, *parameters: dict[str, Any]
) -> dict[str, Any]:
    """An operation that changes nothing."""
    own = _USERS if parameters else (problems.INSUFFICIENT_SCOPE,)
    return {
        "operationId": identifier,
        "summary": summary,
        "description": f"Needs the scope {READ_USERS}.",
        "security": [{"bearer": []}],
        "parameters": list(parameters),
        "responses": {
            "200": _answer("As the gateways have told Redis.", schema),
            **_refusals((*_ALWAYS, *own)),
        },
    }


def _order(
    identifier: str,
    summary: str,
    name: dict[str, Any],
    schema: str,
    receipt: str = "OrderReceipt",
) -> dict[str, Any]:
    """An operation that tells all gateways something."""
    return {
        "operationId": identifier,
        "summary": summary,
        "description": f"Needs the scope {DISCONNECT_USERS}. It does no harm to say it again.",
        "security": [{"bearer": []}],
        "parameters": [name],
        "requestBody": {**_body(schema), "required": False},
        "responses": {
            "200": _answer("The order stands.", receipt),
            **_refusals((*_COMMON, *_USERS)),
        },
    }


def _user() -> dict[str, Any]:
    return _name("user", "The user's id, percent-encoded.", USER_ID_MAX_BYTES)


def _name(name: str, description: str, max_bytes: int) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": max_bytes},
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
