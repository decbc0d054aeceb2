"""Dependencies that FastAPI passes to the operations: caller, name in the path, body, services.

`counted` comes first, so that it sees the outcome of the request. Bodies are read within limits,
and only once the caller is known. FastAPI itself would read whole bodies before anything else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar
from urllib.parse import unquote_to_bytes

import structlog
from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes
from msgspec import Struct

from clarion_contract.events.audience import (
    USER_ID_MAX_BYTES,
    InvalidUserId,
    check_user_id,
    namings,
)
from clarion_contract.events.topic import TOPIC_MAX_CHARACTERS, InvalidTopic, check_topic
from clarion_contract.identity.claims import Claims
from clarion_contract.service.telemetry import read_traceparent, traced_logs
from clarion_contract.texts.piece import NAME_PATTERN, InvalidText, check_name
from clarion_publisher.ingestion.authorise import (
    CHANGE_TOPICS,
    DISCONNECT_USERS,
    READ_USERS,
    SCOPES,
    require,
)
from clarion_publisher.ingestion.refusal import INSUFFICIENT_SCOPE, Refusal
from clarion_publisher.metrics import Metrics
from clarion_publisher.sources.http.callers import Callers
from clarion_publisher.sources.http.decoder import decode_body
from clarion_publisher.sources.http.exchange import Bodies, Disconnected, Headers, read_headers
from clarion_publisher.sources.http.problems import INTERNAL, INVALID_REQUEST, HttpRefusal
from clarion_publisher.sources.http.texts import Texts
from clarion_publisher.sources.http.users import Users

TOKEN_ID_MAX_BYTES: Final = 256

BEARER: Final = HTTPBearer(
    scheme_name="bearer",
    bearerFormat="JWT",
    description=f"A JWT. Its `scope` holds {', '.join(SCOPES.values())}, for the audience of each "
    f"event, or {READ_USERS}, {DISCONNECT_USERS}, {CHANGE_TOPICS}.",
    auto_error=False,  # `caller` does the refusing
)

_log = structlog.get_logger(__name__)

AnyBody = TypeVar("AnyBody", bound=Struct)


@dataclass(frozen=True, slots=True)
class Services:
    """The objects that the operations use: the state of the FastAPI app."""

    users: Users
    callers: Callers
    bodies: Bodies
    metrics: Metrics
    texts: Texts


def services(request: Request) -> Services:
    """The app's services."""
    found: Services = request.app.state.services
    return found


async def counted(request: Request) -> AsyncIterator[None]:
    """Count the outcome of the request. A bug is logged; the caller sees none of its details.

    Raises:
        Refusal: for a bug.
    """
    name: str = request.scope["route"].name
    metrics = services(request).metrics
    try:
        yield
    except Disconnected:
        raise
    except Refusal as refusal:
        metrics.operation(name, refusal.kind.name)
        raise
    except Exception:  # noqa: BLE001 - the edge: one request's bug is no other's
        metrics.operation(name, INTERNAL.name)
        header = request.headers.get("traceparent", "").encode("latin-1")
        with traced_logs(read_traceparent(header)):
            _log.exception("request failed by a bug", path=request.url.path)
        detail = "the publisher failed; it may have carried out the request"
        raise HttpRefusal(INTERNAL, detail) from None
    else:
        metrics.operation(name, "done")


async def caller(
    needed: SecurityScopes,
    request: Request,
    _documented: Annotated[object, Depends(BEARER)],
) -> Claims:
    """The claims of the caller's token, which has the scopes that the operation needs.

    Raises:
        Refusal: there is no valid token, or it lacks a scope.
    """
    headers = read_headers(request.scope)
    claims = await services(request).callers.identify(headers.get(b"authorization"))
    for scope in needed.scopes:
        require(claims, scope, "this")
    request.state.caller = claims
    return claims


async def producer_or_reader(claims: Annotated[Claims, Security(caller)]) -> None:
    """Let in callers that may publish to some audience, or read about users.

    Raises:
        Refusal: the token has no such scope.
    """
    if not any(scope.startswith("publish:") or scope == READ_USERS for scope in claims.scopes):
        detail = f"this needs a scope that begins with publish:, or {READ_USERS}"
        raise Refusal(INSUFFICIENT_SCOPE, detail, scope=READ_USERS)


async def content(request: Request) -> AsyncIterator[bytes]:
    """The request's body, or empty bytes. Its memory counts until the answer.

    The operation depends on `caller` first, because the body counts towards the caller's share.

    Raises:
        Refusal: see `clarion_publisher.sources.http.exchange.Body.read`.
    """
    headers = read_headers(request.scope)
    with services(request).bodies.hold(request.state.caller) as body:
        yield await body.read(headers, request.receive) if _has_body(headers) else b""


def body_of(cls: type[AnyBody]) -> Callable[[bytes], Awaitable[AnyBody]]:
    """A dependency that decodes the body; without a body, it yields the class's defaults.

    Raises:
        Refusal: see `decode_body`.
    """

    async def decoded(body: Annotated[bytes, Depends(content)]) -> AnyBody:
        return decode_body(cls, body)

    return decoded


async def user_in_path(
    user: Annotated[
        str,
        Path(
            description="The user's id, percent-encoded.",
            examples=["alice"],
            json_schema_extra={"minLength": 1, "maxLength": USER_ID_MAX_BYTES},
        ),
    ],
) -> str:
    """The user named in the path.

    Raises:
        Refusal: the name is not a user's id.
    """
    try:
        return check_user_id(_decoded(user))
    except InvalidUserId:
        raise _not_in_path(namings()["user"].expected) from None


async def topic_in_path(
    topic: Annotated[
        str,
        Path(
            description="The topic's name, percent-encoded.",
            examples=["room.lobby"],
            json_schema_extra={"minLength": 1, "maxLength": TOPIC_MAX_CHARACTERS},
        ),
    ],
) -> str:
    """The topic named in the path.

    Raises:
        Refusal: the name is not a topic's.
    """
    try:
        return check_topic(_decoded(topic))
    except InvalidTopic:
        raise _not_in_path(namings()["topic"].expected) from None


async def text_in_path(
    text: Annotated[
        str,
        Path(
            description="The text's name, which its producer chooses.",
            examples=["a1"],
            json_schema_extra={"pattern": NAME_PATTERN},
        ),
    ],
) -> str:
    """The growing text named in the path.

    Raises:
        Refusal: the name cannot be a text's.
    """
    try:
        return check_name(_decoded(text))
    except InvalidText:
        raise _not_in_path(f"a name of the form {NAME_PATTERN}") from None


async def token_id_in_path(
    token_id: Annotated[
        str,
        Path(
            description="The token's `jti`, percent-encoded.",
            examples=["0b2ff7a1-3f6c-4a7e-9d53-2f6f9d1c3c11"],
            json_schema_extra={"minLength": 1, "maxLength": TOKEN_ID_MAX_BYTES},
        ),
    ],
) -> str:
    """The id of the token named in the path.

    Raises:
        Refusal: the name is not a token's id.
    """
    name = _decoded(token_id)
    if len(name.encode()) > TOKEN_ID_MAX_BYTES:
        raise _not_in_path(f"a token's jti of 1 to {TOKEN_ID_MAX_BYTES} bytes in UTF-8")
    return name


def _decoded(encoded: str) -> str:
    """A name in a path. Paths are routed undecoded, so a slash in a name does not split it."""
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise _not_in_path("a name in UTF-8, percent-encoded") from None


def _has_body(headers: Headers) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _not_in_path(expected: str) -> HttpRefusal:
    return HttpRefusal(INVALID_REQUEST, f"expected {expected}, in the path")
