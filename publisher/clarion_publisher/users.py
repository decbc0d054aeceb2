"""What concerns users beside publishing: who is connected, disconnecting, revoking tokens.

Each operation is one method on one path. Names of users and tokens stand in the path, encoded
(RFC 3986, section 2.1), so that any of them can be named, slashes included.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.types import Receive, Scope, Send

from clarion_contract.bus.orders import Disconnect, Order, Orders, RevokeToken, RevokeUser
from clarion_contract.bus.presence import PresenceRegister, pod_of
from clarion_contract.events.audience import InvalidUserId, check_user_id
from clarion_contract.events.errors import BusUnavailable, OrdersFull
from clarion_publisher import schemas
from clarion_publisher.authorise import require
from clarion_publisher.callers import Callers
from clarion_publisher.decoder import decode_body
from clarion_publisher.exchange import Answer, Bodies, Disconnected, Headers, answered, read_headers
from clarion_publisher.metrics import Metrics
from clarion_publisher.problems import (
    BUS_UNAVAILABLE,
    INVALID_REQUEST,
    OVERLOADED,
    RETRY_SECONDS,
    Refusal,
)
from clarion_publisher.schemas import (
    AllConnections,
    ConnectionsOnPod,
    OrderReceipt,
    UserOnPod,
    UserPresence,
)

USER_PATH: Final = "/v1/users/{user}"
CONNECTIONS_PATH: Final = "/v1/connections"
DISCONNECT_PATH: Final = "/v1/users/{user}/disconnect"
REVOKE_USER_PATH: Final = "/v1/users/{user}/revoke"
REVOKE_TOKEN_PATH: Final = "/v1/tokens/{token_id}/revoke"  # noqa: S105 - a path

TOKEN_ID_MAX_BYTES: Final = 256

Handle = Callable[[str, bytes], Awaitable[msgspec.Struct]]


class Operation:
    """One method on one path, as an ASGI app.

    Args:
        name: metric label.
        scope: that the caller's token must hold.
        handle: what is the operation's own: the name in the path, and the body, if there is one.
    """

    def __init__(
        self,
        name: str,
        scope: str,
        handle: Handle,
        callers: Callers,
        bodies: Bodies,
        metrics: Metrics,
    ) -> None:
        self._name = name
        self._scope = scope
        self._handle = handle
        self._callers = callers
        self._bodies = bodies
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            answer = await answered(self._serve(scope, receive), self._name, scope)
        except Disconnected:
            return
        self._metrics.operation(self._name, answer.outcome)
        await answer.send(send)

    async def _serve(self, scope: Scope, receive: Receive) -> Answer:
        headers = read_headers(scope)
        caller = await self._callers.identify(headers.get(b"authorization"))
        require(caller, self._scope, "this")
        with self._bodies.hold(caller) as body:
            content = await body.read(headers, receive) if _has_body(scope, headers) else b""
            receipt = await self._handle(_name_in(scope), content)
        return Answer(200, msgspec.json.encode(receipt), "done", self._name)


class Users:
    """The handlers."""

    def __init__(
        self,
        orders: Orders,
        register: PresenceRegister,
        *,
        token_max_seconds: float,
        leeway_seconds: float,
        disconnect_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Set up.

        Args:
            token_max_seconds: the longest life of a token.
            leeway_seconds: how long a gateway takes a token that has ended.
            disconnect_seconds: how late a gateway may learn that it is to disconnect a user.
        """
        self._orders = orders
        self._register = register
        self._token_max_seconds = token_max_seconds
        self._leeway_seconds = leeway_seconds
        self._disconnect_seconds = disconnect_seconds
        self._clock = clock

    async def read(self, user: str, _body: bytes) -> UserPresence:
        """Whether and where a user is connected.

        Raises:
            Refusal: the id is no user's; Redis does not answer.
        """
        try:
            stays = await self._register.user(_checked_user(user))
        except BusUnavailable:
            raise _bus_unavailable() from None
        pods = [
            UserOnPod(pod_of(name), stay.connections, _time(stay.since))
            for name, stay in sorted(stays.items())
        ]
        return UserPresence(
            user,
            bool(pods),
            sum(pod.connections for pod in pods),
            min((pod.since for pod in pods), default=None),
            pods,
        )

    async def read_connections(self, _name: str, _body: bytes) -> AllConnections:
        """What each pod holds.

        Raises:
            Refusal: Redis does not answer.
        """
        try:
            loads = (await self._register.pods()).loads
        except BusUnavailable:
            raise _bus_unavailable() from None
        pods = [
            ConnectionsOnPod(
                pod_of(name),
                load.connections,
                load.anonymous,
                load.authenticated,
                load.users,
                load.ready,
            )
            for name, load in sorted(loads.items())
        ]
        anonymous = sum(pod.anonymous for pod in pods)
        authenticated = sum(pod.authenticated for pod in pods)
        return AllConnections(anonymous + authenticated, anonymous, authenticated, pods)

    async def disconnect(self, user: str, body: bytes) -> OrderReceipt:
        """Close all connections of a user.

        Raises:
            Refusal: see `decode_body`; the id is no user's; Redis does not take the order.
        """
        wanted = decode_body(schemas.DisconnectUser, body)
        now = self._clock()
        orders: list[Order] = [
            Disconnect(
                secrets.token_urlsafe(9),
                _checked_user(user),
                wanted.reason,
                wanted.reconnect,
                now + self._disconnect_seconds,
            )
        ]
        if wanted.revoke:
            orders.append(self._revocation(user, now))
        return await self._give(orders)

    async def revoke_user(self, user: str, body: bytes) -> OrderReceipt:
        """Revoke a user's tokens that were issued before a moment.

        Raises:
            Refusal: see `disconnect`.
        """
        issued_before = decode_body(schemas.RevokeUser, body).issued_before
        if issued_before is None:
            issued_before = self._clock()
        return await self._give([self._revocation(_checked_user(user), issued_before)])

    async def revoke_token(self, token_id: str, body: bytes) -> OrderReceipt:
        """Revoke the token with that ``jti``.

        Raises:
            Refusal: see `disconnect`.
        """
        expires_at = decode_body(schemas.RevokeToken, body).expires_at
        if len(token_id.encode()) > TOKEN_ID_MAX_BYTES:
            raise _not_in_path(f"a token's jti of 1 to {TOKEN_ID_MAX_BYTES} bytes in UTF-8")
        if expires_at is None:
            expires_at = self._clock() + self._token_max_seconds
        return await self._give([RevokeToken(token_id, expires_at + self._leeway_seconds)])

    def _revocation(self, user: str, issued_before: float) -> RevokeUser:
        ends_at = issued_before + self._token_max_seconds + self._leeway_seconds
        return RevokeUser(user, issued_before, ends_at)

    async def _give(self, orders: Sequence[Order]) -> OrderReceipt:
        try:
            return OrderReceipt(await self._orders.give(orders, replicated=True))
        except BusUnavailable:
            raise _bus_unavailable() from None
        except OrdersFull as full:
            raise Refusal(OVERLOADED, str(full), retry_after_seconds=RETRY_SECONDS) from None


def _bus_unavailable() -> Refusal:
    return Refusal(
        BUS_UNAVAILABLE,
        "the bus did not answer; it does no harm to ask again",
        retry_after_seconds=RETRY_SECONDS,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)


def _has_body(scope: Scope, headers: Headers) -> bool:
    """Whether a request carries content that means something (RFC 9110, section 9.3.1)."""
    if scope["method"] == "GET":
        return False
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _checked_user(user: str) -> str:
    try:
        return check_user_id(user)
    except InvalidUserId:
        raise _not_in_path(schemas.USER_EXPECTED) from None


def _not_in_path(expected: str) -> Refusal:
    return Refusal(INVALID_REQUEST, f"expected {expected}, in the path")


def _name_in(scope: Scope) -> str:
    """The one name in a path, or nothing.

    Raises:
        Refusal: its bytes are no UTF-8.
    """
    encoded = "".join(scope["path_params"].values())
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise _not_in_path("a name in UTF-8, percent-encoded") from None
