"""Keeps the revocations in force and carries out orders: revocations, disconnects, topics.

Events do not pass here. `clarion_gateway.bus.subscription` hands over the messages of the control
stream, and `clarion_gateway.clients.admission` asks about each token. Revocations are kept in
memory, so that a handshake costs no round trip. Redis keeps them for pods that start or were away
(`clarion_contract.bus.orders`).
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

import structlog
from msgspec import MsgspecError

from clarion_contract.bus.orders import (
    ChangeSelectedTopics,
    ChangeTopics,
    Disconnect,
    DisconnectSelected,
    Order,
    RevokeToken,
    RevokeUser,
    decode_order,
    split_message,
)
from clarion_contract.events.errors import OrdersFull
from clarion_contract.identity.claims import Claims
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import Connection
from clarion_gateway.connections.hub import Hub
from clarion_gateway.metrics.registry import Metrics

_log = structlog.get_logger(__name__)


class KeptOrders(Protocol):
    """The part of `clarion_contract.bus.orders.Orders` that the pod uses."""

    async def give(self, orders: Sequence[Order]) -> int:
        """See `clarion_contract.bus.orders.Orders.give`."""
        ...

    async def read(self) -> list[bytes]:
        """See `clarion_contract.bus.orders.Orders.read`."""
        ...


def _change_nothing(order: ChangeTopics | ChangeSelectedTopics) -> None:
    """Do nothing; the initial value of `Revocations.change_topics`."""


class Revocations:
    """The orders that the pod has carried out, and the tokens that they revoke.

    Attributes:
        change_topics: takes the orders about topics.
    """

    def __init__(
        self,
        orders: KeptOrders,
        hub: Hub,
        metrics: Metrics,
        *,
        leeway_seconds: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Set up, with no revocation in force.

        Args:
            leeway_seconds: how far the clocks of issuers and pods may differ.
        """
        self._orders = orders
        self._hub = hub
        self._metrics = metrics
        self.change_topics: Callable[[ChangeTopics | ChangeSelectedTopics], None] = _change_nothing
        self._leeway_seconds = leeway_seconds
        self._clock = clock
        self._carried_out: dict[bytes, Order] = {}
        self._ends: list[tuple[float, bytes]] = []
        self._tokens: dict[str, RevokeToken] = {}
        self._users: dict[str, RevokeUser] = {}

    def __len__(self) -> int:
        """Revocations in force."""
        return len(self._tokens) + len(self._users)

    def refusal(self, claims: Claims) -> Close | None:
        """The close for a token that is revoked; None: no revocation concerns the token.

        A token without ``iat`` counts as issued before every revocation.

        Most issuers cut ``iat`` to whole seconds. A token of the very second of a revocation may
        then be older or newer than the revocation, so it is refused. But the client may hold a
        fresh token and must not give up for good. Until every issuer's clock has left that second,
        the close therefore tells the client to reconnect.
        """
        if claims.token_id is not None and claims.token_id in self._tokens:
            return close_codes.REVOKED
        order = self._users.get(claims.subject)
        if order is None or not _is_before(claims.issued_at, order):
            return None
        second = math.floor(order.issued_before)
        if claims.issued_at == second and self._clock() < second + 1 + self._leeway_seconds:
            return close_codes.ISSUED_TOO_SOON
        return close_codes.REVOKED

    def have_taken(self, user: str | None, topics: AbstractSet[str]) -> bool:
        """Whether an order in force may have taken one of these topics from a user's connection.

        Which connections an order about rooms concerned is not known any more.
        """
        return any(
            not topics.isdisjoint(order.remove)
            for order in self._carried_out.values()
            if isinstance(order, ChangeSelectedTopics)
            or (isinstance(order, ChangeTopics) and order.user == user)
        )

    async def load(self) -> None:
        """Carry out orders from the time in which the pod did not listen; call it once it listens.

        If Redis has lost orders that the pod still holds, the pod writes them back.

        Raises:
            BusUnavailable: Redis did not answer.
        """
        kept = await self._orders.read()
        self._take(kept)
        self.forget_ended()
        lost = [self._carried_out[text] for text in self._carried_out.keys() - set(kept)]
        if lost:
            _log.warning("Redis lost orders; it gets them back", orders=len(lost))
            try:
                await self._orders.give(lost)
            except OrdersFull as error:
                _log.error("orders not given back", error=str(error))

    def hear(self, payload: bytes) -> None:
        """Carry out the orders in a message of the control stream."""
        self._take(split_message(payload))
        self.forget_ended()

    def forget_ended(self) -> None:
        """Forget orders that have ended: the tokens that they revoke have expired by then."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            _, text = heapq.heappop(self._ends)
            order = self._carried_out.pop(text, None)
            if isinstance(order, RevokeToken):
                _forget(self._tokens, order.token_id, now)
            elif isinstance(order, RevokeUser):
                _forget(self._users, order.user, now)

    def _take(self, texts: Iterable[bytes]) -> None:
        """Carry out the orders that are new, with one pass over all connections."""
        orders = [order for text in texts if (order := self._new(text)) is not None]
        if not orders:
            return
        closed = sum(self._carry_out(order) for order in orders)
        revoked = {order.token_id for order in orders if isinstance(order, RevokeToken)}
        if revoked:
            holders = [each for each in self._hub.connections if each.identity.token_id in revoked]
            closed += _close(holders, close_codes.REVOKED)
        _log.info("orders carried out", orders=len(orders), closed=closed)

    def _new(self, text: bytes) -> Order | None:
        """The order in a text; None if it was carried out already, or is not an order."""
        if text in self._carried_out:
            return None
        try:
            order = decode_order(text)
        except MsgspecError as error:
            self._metrics.bus_messages_invalid.inc()
            _log.warning("not an order on the bus", error=str(error))
            return None
        self._carried_out[text] = order
        heapq.heappush(self._ends, (order.expires_at, text))
        self._metrics.orders.labels(_kind(order)).inc()
        return order

    def _carry_out(self, order: Order) -> int:
        """Carry out one order; returns how many connections were closed.

        The caller closes the holders of a single revoked token.
        """
        if isinstance(order, Disconnect):
            close = close_codes.disconnected(order.reason, reconnect=order.reconnect)
            return _close(self._hub.of_user(order.user), close)
        if isinstance(order, DisconnectSelected):
            selected = self._hub.selected(order.any_of, order.none_of)
            return _close(selected, close_codes.disconnected(None, reconnect=False))
        if isinstance(order, ChangeTopics | ChangeSelectedTopics):
            self.change_topics(order)
            return 0
        if isinstance(order, RevokeToken):
            known = self._tokens.get(order.token_id)
            if known is None or known.expires_at < order.expires_at:
                self._tokens[order.token_id] = order
            return 0
        before = self._users.get(order.user)
        if before is None:
            self._users[order.user] = order
        else:  # merge both: the later moment, until the later end
            self._users[order.user] = RevokeUser(
                order.user,
                max(before.issued_before, order.issued_before),
                max(before.expires_at, order.expires_at),
            )
        older = [
            each
            for each in self._hub.of_user(order.user)
            if _is_before(each.identity.issued_at, order)
        ]
        return _close(older, close_codes.REVOKED)


def _forget(
    revocations: dict[str, RevokeToken] | dict[str, RevokeUser], name: str, now: float
) -> None:
    """Forget a revocation that has ended. It has not if another order has prolonged it."""
    revocation = revocations.get(name)
    if revocation is not None and revocation.expires_at <= now:
        del revocations[name]


def _close(connections: Iterable[Connection], close: Close) -> int:
    closing = list(connections)  # a copy: the hub removes each one as it closes
    for connection in closing:
        connection.close(close)
    return len(closing)


def _is_before(issued_at: float | None, order: RevokeUser) -> bool:
    return issued_at is None or issued_at < order.issued_before


def _kind(order: Order) -> str:
    return str(type(order).__struct_config__.tag)
