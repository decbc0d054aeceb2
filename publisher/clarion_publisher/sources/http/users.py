"""Operations on users and tokens: who is connected, disconnects, topics, revocations.

They read and write Redis through `clarion_contract.bus.presence` and `clarion_contract.bus.orders`.
The routes are in `operations`.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from clarion_contract.bus.orders import (
    ChangeTopics,
    Disconnect,
    Order,
    Orders,
    RevokeToken,
    RevokeUser,
)
from clarion_contract.bus.presence import PresenceRegister, pod_of
from clarion_contract.bus.topic_presence import TopicRegister
from clarion_contract.events.errors import BusUnavailable, OrdersFull
from clarion_contract.events.topic_members import TopicMembers
from clarion_contract.events.topic_rules import NO_RULES, TopicRules
from clarion_publisher.ingestion.refusal import (
    OVERLOADED,
    RETRY_SECONDS,
    FieldError,
    Refusal,
    bus_failure,
)
from clarion_publisher.sources.http import schemas
from clarion_publisher.sources.http.answers import (
    AllConnections,
    ConnectionsOnPod,
    ConnectionsReceipt,
    DisconnectReceipt,
    OrderReceipt,
    Position,
    RevocationReceipt,
    TopicOnPod,
    TopicPresence,
    UserOnPod,
    UserPresence,
)
from clarion_publisher.sources.http.problems import INVALID_REQUEST, HttpRefusal, invalid


class Users:
    """The handlers."""

    def __init__(
        self,
        orders: Orders,
        register: PresenceRegister,
        position: Callable[[], Awaitable[int]],
        *,
        token_max_seconds: float,
        leeway_seconds: float,
        disconnect_seconds: float,
        topics: TopicRegister,
        rules: TopicRules = NO_RULES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Set up.

        Args:
            position: see `clarion_contract.bus.bus.Bus.position`.
            token_max_seconds: the longest life of a token.
            leeway_seconds: how long after its end a gateway still accepts a token.
            disconnect_seconds: how late a gateway may still carry out an order to disconnect, or
                to change topics.
        """
        self._orders = orders
        self._register = register
        self._position = position
        self._token_max_seconds = token_max_seconds
        self._leeway_seconds = leeway_seconds
        self._disconnect_seconds = disconnect_seconds
        self._topics = topics
        self._rules = rules
        self._clock = clock

    async def read(self, user: str) -> UserPresence:
        """Whether and where a user is connected.

        Raises:
            Refusal: Redis does not answer.
        """
        try:
            entries = await self._register.user(user)
        except BusUnavailable as error:
            raise _refusal(error) from None
        pods = [
            UserOnPod(pod_of(name), entry.connections, _time(entry.since))
            for name, entry in sorted(entries.items())
        ]
        return UserPresence(
            user,
            bool(pods),
            sum(pod.connections for pod in pods),
            min((pod.since for pod in pods), default=None),
            pods,
        )

    async def read_topic(self, topic: str) -> TopicPresence:
        """The members of a topic and their pods.

        Raises:
            Refusal: the topic has no presence, or Redis does not answer.
        """
        rule = self._rules.of(topic).presence
        if rule is None:
            rules = "a rule of CLARION_TOPIC_RULES gives it"
            detail = f"expected a topic with presence in the path: {rules}"
            raise HttpRefusal(INVALID_REQUEST, detail)
        try:
            (entries,) = await self._topics.read([topic])
            there = (await self._register.pods()).loads  # a pod registers before it writes entries
        except BusUnavailable as error:
            raise _refusal(error) from None
        alive = {name: entry for name, entry in entries.items() if name in there}
        found = TopicMembers.of(alive.values(), rule.max_members)
        return TopicPresence(
            topic,
            found.connections,
            found.users,
            None if found.members is None else list(found.members),
            [
                TopicOnPod(pod_of(name), entry.connections, entry.users)
                for name, entry in sorted(alive.items())
            ],
        )

    async def read_connections(self) -> AllConnections:
        """The connections of each pod.

        Raises:
            Refusal: Redis does not answer.
        """
        try:
            loads = (await self._register.pods()).loads
        except BusUnavailable as error:
            raise _refusal(error) from None
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

    async def read_position(self) -> Position:
        """A position of now, for a producer that reads its state next.

        Raises:
            Refusal: Redis does not answer.
        """
        try:
            return Position(str(await self._position()))
        except BusUnavailable as error:
            raise _refusal(error) from None

    async def disconnect(self, user: str, wanted: schemas.DisconnectUser) -> DisconnectReceipt:
        """Close all connections of a user, and return how many of them presence knew.

        Raises:
            Refusal: Redis did not take the order, or too many orders are in force.
        """
        # Count first: after the order, the gateways begin to close the connections.
        known = await self._known_connections(user)
        now = self._clock()
        orders: list[Order] = [
            Disconnect(
                secrets.token_urlsafe(9),
                user,
                wanted.reason,
                wanted.reconnect,
                now + self._disconnect_seconds,
            )
        ]
        if wanted.revoke:
            orders.append(self._revocation(user, now))
        gateways = await self._give(orders)
        return DisconnectReceipt(gateways, known, _good_from(now) if wanted.revoke else None)

    async def change_topics(self, user: str, wanted: schemas.ChangeTopics) -> ConnectionsReceipt:
        """Give topics to a user's live connections, and take others away.

        Raises:
            Refusal: the order is empty or contradicts itself; or see `disconnect`.
        """
        _check_topics(wanted)
        known = await self._known_connections(user)
        order = ChangeTopics(
            secrets.token_urlsafe(9),
            user,
            wanted.add,
            wanted.remove,
            self._clock() + self._disconnect_seconds,
        )
        return ConnectionsReceipt(await self._give([order]), known)

    async def revoke_user(self, user: str, wanted: schemas.RevokeUser) -> RevocationReceipt:
        """Revoke a user's tokens that were issued before a moment.

        Raises:
            Refusal: see `disconnect`.
        """
        issued_before = wanted.issued_before
        if issued_before is None:
            issued_before = self._clock()
        gateways = await self._give([self._revocation(user, issued_before)])
        return RevocationReceipt(gateways, _good_from(issued_before))

    async def revoke_token(self, token_id: str, wanted: schemas.RevokeToken) -> OrderReceipt:
        """Revoke the token with that ``jti``.

        Raises:
            Refusal: see `disconnect`.
        """
        expires_at = wanted.expires_at
        if expires_at is None:
            expires_at = self._clock() + self._token_max_seconds
        order = RevokeToken(token_id, expires_at + self._leeway_seconds)
        return OrderReceipt(await self._give([order]))

    async def _known_connections(self, user: str) -> int | None:
        """None if presence does not answer; the user is disconnected all the same."""
        try:
            entries = await self._register.user(user)
        except BusUnavailable:
            return None
        return sum(entry.connections for entry in entries.values())

    def _revocation(self, user: str, issued_before: float) -> RevokeUser:
        ends_at = issued_before + self._token_max_seconds + self._leeway_seconds
        return RevokeUser(user, issued_before, ends_at)

    async def _give(self, orders: Sequence[Order]) -> int:
        """Give orders; return how many gateways got them at once."""
        try:
            return await self._orders.give(orders, replicated=True)
        except BusUnavailable as error:
            raise _refusal(error) from None
        except OrdersFull as full:
            raise Refusal(OVERLOADED, str(full), retry_after_seconds=RETRY_SECONDS) from None


def _check_topics(wanted: schemas.ChangeTopics) -> None:
    if not wanted.add and not wanted.remove:
        error = FieldError("/add", "topics to add or to remove", "neither")
        raise invalid(INVALID_REQUEST, error)
    both = next((name for name in wanted.remove if name in wanted.add), None)
    if both is not None:
        raise invalid(INVALID_REQUEST, FieldError("/remove", "topics that are not in add", both))


def _refusal(error: BusUnavailable) -> Refusal:
    if error.fault is not None and error.fault.patience_seconds:  # it may be a failover
        error = BusUnavailable(str(error))
    return bus_failure(error, "the bus did not answer; sending the request again is safe")


def _good_from(issued_before: float) -> int:
    """The first whole second from a moment on; its tokens are not revoked."""
    return math.ceil(issued_before)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)
