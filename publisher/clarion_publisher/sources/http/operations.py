"""The routes other than publishing: who is connected, disconnects, topics, revocations.

The functions' names are metric labels. GET routes answer HEAD as well.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Security

from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.authorise import CHANGE_TOPICS, DISCONNECT_USERS, READ_USERS
from clarion_publisher.sources.http import problems, schemas
from clarion_publisher.sources.http.answers import (
    AllConnections,
    ConnectionsReceipt,
    DisconnectReceipt,
    OrderReceipt,
    Position,
    RevocationReceipt,
    TextStatus,
    TopicPresence,
    UserPresence,
)
from clarion_publisher.sources.http.dependencies import (
    Services,
    body_of,
    caller,
    counted,
    producer_or_reader,
    services,
    text_in_path,
    token_id_in_path,
    topic_in_path,
    user_in_path,
)
from clarion_publisher.sources.http.openapi import (
    ALWAYS,
    WITH_BODY,
    refusals,
    request_body,
    success,
)

User = Annotated[str, Depends(user_in_path)]
TokenId = Annotated[str, Depends(token_id_in_path)]
Topic = Annotated[str, Depends(topic_in_path)]
Text = Annotated[str, Depends(text_in_path)]
Caller = Annotated[Claims, Security(caller)]
Served = Annotated[Services, Depends(services)]

_MAY_READ = Security(caller, scopes=[READ_USERS])
_MAY_DISCONNECT = Security(caller, scopes=[DISCONNECT_USERS])
_MAY_CHANGE_TOPICS = Security(caller, scopes=[CHANGE_TOPICS])

_READING: Final[dict[str, Any]] = {
    "tags": ["users"],
    "description": f"Needs the scope {READ_USERS}.",
    "response_description": "The state as the gateways have reported it to Redis.",
}
_ORDER: Final[dict[str, Any]] = {
    "tags": ["users"],
    "description": f"Needs the scope {DISCONNECT_USERS}. Sending the request again is safe.",
    "response_description": "The order is in force.",
}
_ORDER_REFUSALS: Final = refusals(
    (*WITH_BODY, problems.INSUFFICIENT_SCOPE, problems.INVALID_REQUEST)
)

_ALICE: Final = {
    "user": "alice",
    "connected": True,
    "connections": 2,
    "since": "2027-01-15T08:00:00Z",
    "pods": [{"pod": "gateway-0", "connections": 2, "since": "2027-01-15T08:00:00Z"}],
}
_LOBBY: Final = {
    "topic": "room.lobby",
    "connections": 3,
    "users": 2,
    "members": ["alice", "bob"],
    "pods": [{"pod": "gateway-0", "connections": 3, "users": 2}],
}
_GATEWAY: Final = {"connections": 8, "anonymous": 5, "authenticated": 3}
_GATEWAYS: Final = {
    **_GATEWAY,
    "pods": [{"pod": "gateway-0", **_GATEWAY, "users": 2, "ready": True}],
}

_TEXTS: Final[dict[str, Any]] = {
    "tags": ["events"],
    "description": "Needs the scope publish:topic, or a narrower one that covers the topic. "
    "Sending the request again is safe.",
    "response_description": "The text's state.",
}
_TEXT: Final = {"stream": "a1", "state": "writing", "reason": ""}
_TEXT_REFUSALS: Final = refusals(
    (
        *WITH_BODY,
        problems.INSUFFICIENT_SCOPE,
        problems.INVALID_REQUEST,
        problems.INVALID_EVENT,
        problems.RATE_LIMITED,
    )
)

router = APIRouter(prefix="/v1", dependencies=[Depends(counted, scope="function")])


@router.head("/users/{user}", dependencies=[_MAY_READ], include_in_schema=False)
@router.get(
    "/users/{user}",
    dependencies=[_MAY_READ],
    operation_id="readUser",
    summary="Whether and where a user is connected",
    responses={
        **success(_ALICE),
        **refusals((*ALWAYS, problems.INSUFFICIENT_SCOPE, problems.INVALID_REQUEST)),
    },
    **_READING,
)
async def read_user(served: Served, user: User) -> UserPresence:
    """See `clarion_publisher.sources.http.users.Users.read`."""
    return await served.users.read(user)


@router.head("/topics/{topic}", dependencies=[_MAY_READ], include_in_schema=False)
@router.get(
    "/topics/{topic}",
    dependencies=[_MAY_READ],
    operation_id="readTopic",
    summary="Who receives a topic whose rule asks for presence, and on which gateways",
    responses={
        **success(_LOBBY),
        **refusals((*ALWAYS, problems.INSUFFICIENT_SCOPE, problems.INVALID_REQUEST)),
    },
    **_READING,
)
async def read_topic(served: Served, topic: Topic) -> TopicPresence:
    """See `clarion_publisher.sources.http.users.Users.read_topic`."""
    return await served.users.read_topic(topic)


@router.post(
    "/topics/{topic}/texts/{text}",
    operation_id="writePiece",
    summary="Write a piece of a growing text",
    openapi_extra=request_body(schemas.WritePiece, required=False),
    responses={**success(_TEXT), **_TEXT_REFUSALS},
    **_TEXTS,
)
async def write_piece(
    served: Served,
    producer: Caller,
    topic: Topic,
    text: Text,
    wanted: Annotated[schemas.WritePiece, Depends(body_of(schemas.WritePiece))],
) -> TextStatus:
    """See `clarion_publisher.sources.http.texts.Texts.write`."""
    return await served.texts.write(producer, topic, text, wanted)


@router.post(
    "/topics/{topic}/texts/{text}/stop",
    operation_id="stopText",
    summary="Stop a growing text, wherever its producer runs",
    responses={**success({**_TEXT, "state": "stopped"}), **_TEXT_REFUSALS},
    **_TEXTS,
)
async def stop_text(served: Served, producer: Caller, topic: Topic, text: Text) -> TextStatus:
    """See `clarion_publisher.sources.http.texts.Texts.stop`."""
    return await served.texts.stop(producer, topic, text)


@router.head("/connections", dependencies=[_MAY_READ], include_in_schema=False)
@router.get(
    "/connections",
    dependencies=[_MAY_READ],
    operation_id="readConnections",
    summary="How many connections and users each gateway pod has",
    responses={**success(_GATEWAYS), **refusals((*ALWAYS, problems.INSUFFICIENT_SCOPE))},
    **_READING,
)
async def read_connections(served: Served) -> AllConnections:
    """See `clarion_publisher.sources.http.users.Users.read_connections`."""
    return await served.users.read_connections()


@router.head("/position", dependencies=[Depends(producer_or_reader)], include_in_schema=False)
@router.get(
    "/position",
    dependencies=[Depends(producer_or_reader)],
    operation_id="readPosition",
    summary="A position of now: read it before the state that a client begins with",
    tags=["events"],
    description=f"Needs a scope that begins with `publish:`, or {READ_USERS}.",
    response_description="Events that are published from now on have higher ids.",
    responses={
        **success({"id": "1732440000000000"}),
        **refusals((*ALWAYS, problems.INSUFFICIENT_SCOPE)),
    },
)
async def read_position(served: Served) -> Position:
    """See `clarion_publisher.sources.http.users.Users.read_position`."""
    return await served.users.read_position()


@router.post(
    "/users/{user}/disconnect",
    dependencies=[_MAY_DISCONNECT],
    operation_id="disconnectUser",
    summary="Close all connections of a user, on every gateway",
    openapi_extra=request_body(schemas.DisconnectUser, required=False),
    responses={
        **success({"gateways": 3, "connections": 2, "tokens_good_from": None}),
        **_ORDER_REFUSALS,
    },
    **_ORDER,
)
async def disconnect_user(
    served: Served,
    user: User,
    wanted: Annotated[schemas.DisconnectUser, Depends(body_of(schemas.DisconnectUser))],
) -> DisconnectReceipt:
    """See `clarion_publisher.sources.http.users.Users.disconnect`."""
    return await served.users.disconnect(user, wanted)


@router.post(
    "/users/{user}/topics",
    dependencies=[_MAY_CHANGE_TOPICS],
    operation_id="changeTopics",
    summary="Give topics to all live connections of a user, on every gateway, or take them away",
    openapi_extra=request_body(schemas.ChangeTopics, required=True),
    responses={**success({"gateways": 3, "connections": 2}), **_ORDER_REFUSALS},
    **{
        **_ORDER,
        "description": f"Needs the scope {CHANGE_TOPICS}. Sending the request again is safe.",
    },
)
async def change_topics(
    served: Served,
    user: User,
    wanted: Annotated[schemas.ChangeTopics, Depends(body_of(schemas.ChangeTopics))],
) -> ConnectionsReceipt:
    """See `clarion_publisher.sources.http.users.Users.change_topics`."""
    return await served.users.change_topics(user, wanted)


@router.post(
    "/users/{user}/revoke",
    dependencies=[_MAY_DISCONNECT],
    operation_id="revokeUser",
    summary="Revoke a user's tokens issued before a moment, and close connections that use one",
    openapi_extra=request_body(schemas.RevokeUser, required=False),
    responses={
        **success({"gateways": 3, "tokens_good_from": 1_795_494_113}),
        **_ORDER_REFUSALS,
    },
    **_ORDER,
)
async def revoke_user(
    served: Served,
    user: User,
    wanted: Annotated[schemas.RevokeUser, Depends(body_of(schemas.RevokeUser))],
) -> RevocationReceipt:
    """See `clarion_publisher.sources.http.users.Users.revoke_user`."""
    return await served.users.revoke_user(user, wanted)


@router.post(
    "/tokens/{token_id}/revoke",
    dependencies=[_MAY_DISCONNECT],
    operation_id="revokeToken",
    summary="Revoke one token, and close the connections that use it",
    openapi_extra=request_body(schemas.RevokeToken, required=False),
    responses={**success({"gateways": 3}), **_ORDER_REFUSALS},
    **_ORDER,
)
async def revoke_token(
    served: Served,
    token_id: TokenId,
    wanted: Annotated[schemas.RevokeToken, Depends(body_of(schemas.RevokeToken))],
) -> OrderReceipt:
    """See `clarion_publisher.sources.http.users.Users.revoke_token`."""
    return await served.users.revoke_token(token_id, wanted)
