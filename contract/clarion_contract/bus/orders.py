"""Orders to all gateways: revoke a token or all tokens of a user, disconnect a user, change topics.

A publisher gives an order, and Redis keeps it until it ends. Every pod carries it out, either when
the order arrives or when the pod returns to Redis and finds it there. Orders are idempotent.
`clarion_gateway.clients.revocations` decides what a pod does with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from clarion_contract.bus.bus import ScriptingBus
from clarion_contract.events.errors import OrdersFull
from clarion_contract.redis.keyspace import CONTROL_STREAM, Keyspace
from clarion_contract.redis.server import Script

_SEPARATOR: Final = b"\n"  # msgspec writes JSON without newlines
_ORDERS_PER_CALL: Final = 1_000


class RevokeToken(Struct, frozen=True, tag="revoke_token", tag_field="order"):
    """Revokes the token with that ``jti``."""

    token_id: str
    expires_at: float


class RevokeUser(Struct, frozen=True, tag="revoke_user", tag_field="order"):
    """Revokes the tokens of a user that were issued before a moment.

    Attributes:
        issued_before: seconds since the epoch, with a fraction. It is compared with a token's
            unrounded ``iat``, which may have a fraction too (RFC 7519, section 2). An ``iat`` in
            whole seconds therefore counts as issued when its second began.
    """

    user: str
    issued_before: float
    expires_at: float


class Disconnect(Struct, frozen=True, tag="disconnect", tag_field="order"):
    """Closes all connections of a user, once.

    Attributes:
        id: distinguishes the order from earlier ones to the same user.
        reason: shown to the user's clients; None: no reason is given.
        reconnect: whether the clients may reconnect by themselves.
    """

    id: str
    user: str
    reason: str | None
    reconnect: bool
    expires_at: float


class ChangeTopics(Struct, frozen=True, tag="topics", tag_field="order"):
    """Gives topics to the live connections of a user, and takes others away, once.

    Attributes:
        id: distinguishes the order from earlier ones to the same user.
    """

    id: str
    user: str
    add: tuple[str, ...]
    remove: tuple[str, ...]
    expires_at: float


class DisconnectSelected(Struct, frozen=True, tag="disconnect_selected", tag_field="order"):
    """Closes the connections that are selected, once. Their clients do not reconnect.

    Attributes:
        id: distinguishes the order from earlier ones.
        any_of: ids of connections and names of streams, such as ``topic:room.7``: the connections
            with one of these ids, and those that hear one of these streams.
        none_of: ids and names likewise, of connections that are left out.
    """

    id: str
    any_of: tuple[str, ...]
    none_of: tuple[str, ...]
    expires_at: float


class ChangeSelectedTopics(Struct, frozen=True, tag="selected_topics", tag_field="order"):
    """Gives topics to the connections that are selected, and takes others away, once.

    Attributes:
        id: distinguishes the order from earlier ones.
        any_of: see `DisconnectSelected`.
        none_of: see `DisconnectSelected`.
    """

    id: str
    any_of: tuple[str, ...]
    none_of: tuple[str, ...]
    add: tuple[str, ...]
    remove: tuple[str, ...]
    expires_at: float


Order = (
    RevokeToken | RevokeUser | Disconnect | ChangeTopics | DisconnectSelected | ChangeSelectedTopics
)
"""``expires_at`` (seconds since the epoch) is the time from which an order may be forgotten."""

_decoder: Final[msgspec.json.Decoder[Order]] = msgspec.json.Decoder(Order)


def encode_order(order: Order) -> bytes:
    """An order in the form in which Redis holds it."""
    return msgspec.json.encode(order)


def decode_order(text: bytes) -> Order:
    """The inverse of `encode_order`.

    Raises:
        msgspec.MsgspecError: the text is not an order.
    """
    try:
        return _decoder.decode(text)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec's own for UTF-8 and for depth
        raise msgspec.DecodeError(str(error)) from None


def split_message(payload: bytes) -> list[bytes]:
    """The orders, still encoded, in a message of the control stream."""
    return payload.split(_SEPARATOR)


class Orders:
    """The orders of one namespace in Redis."""

    def __init__(self, bus: ScriptingBus, keyspace: Keyspace, *, max_orders: int) -> None:
        self._bus = bus
        self._key = keyspace.orders
        self._channel = keyspace.channel(CONTROL_STREAM)
        self._publish_command = keyspace.publish_command
        self._max_orders = max_orders
        self._give = Script("order.lua")

    async def give(self, orders: Sequence[Order], *, replicated: bool = False) -> int:
        """Store orders and send them to all gateways; return how many gateways got them at once.

        Args:
            replicated: see `clarion_contract.bus.bus.Bus.run`.

        Raises:
            OrdersFull: too many orders are in force.
            BusUnavailable: Redis or its replicas did not answer. Giving the same orders again is
                safe.
        """
        told = 0
        for start in range(0, len(orders), _ORDERS_PER_CALL):
            pairs: list[str | bytes | int] = []
            for order in orders[start : start + _ORDERS_PER_CALL]:
                pairs += [str(order.expires_at), encode_order(order)]
            to_all = (self._channel, self._max_orders, self._publish_command)
            arguments = (1, self._key, *to_all, *pairs)
            (told,) = await self._bus.run(self._give, [arguments], replicated=replicated)
            if told < 0:
                raise OrdersFull(f"expected at most {self._max_orders} orders in force")
        return told

    async def read(self) -> list[bytes]:
        """All orders in Redis, still encoded. Some of them may have ended.

        Raises:
            BusUnavailable: Redis did not answer.
        """
        return list(await self._bus.read("ZRANGE", self._key, 0, -1))
