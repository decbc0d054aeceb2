"""Orders to all gateways: which tokens are good no more, whose connections to close.

A publisher gives an order, in Redis it stands until it ends, and every pod carries it out: at once
when it hears of it, or when it comes back to Redis and finds it there. Orders are idempotent. What
a pod does with them belongs to `clarion_gateway.clients.revocations`.
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

_SEPARATOR: Final = b"\n"  # JSON as msgspec writes it holds none
_ORDERS_PER_CALL: Final = 1_000


class RevokeToken(Struct, frozen=True, tag="revoke_token", tag_field="order"):
    """The token with that ``jti`` is good no more."""

    token_id: str
    expires_at: float


class RevokeUser(Struct, frozen=True, tag="revoke_user", tag_field="order"):
    """Tokens of a user that were issued before a moment are good no more.

    Attributes:
        issued_before: seconds since the epoch, with a fraction. A token's ``iat`` is compared with
            it as it is (RFC 7519, section 2, allows a fraction there too), so that one cut to
            whole seconds counts as issued when its second began.
    """

    user: str
    issued_before: float
    expires_at: float


class Disconnect(Struct, frozen=True, tag="disconnect", tag_field="order"):
    """A user's connections are to be closed, once.

    Attributes:
        id: makes the order another one than the last to the same user.
        reason: what the user's clients are told; None: nothing more than that.
        reconnect: whether they may come back by themselves.
    """

    id: str
    user: str
    reason: str | None
    reconnect: bool
    expires_at: float


Order = RevokeToken | RevokeUser | Disconnect
"""``expires_at``, in seconds since the epoch, is when an order may be forgotten."""

_decoder: Final[msgspec.json.Decoder[Order]] = msgspec.json.Decoder(Order)


def encode_order(order: Order) -> bytes:
    """An order as it stands in Redis."""
    return msgspec.json.encode(order)


def decode_order(text: bytes) -> Order:
    """The inverse of `encode_order`.

    Raises:
        msgspec.MsgspecError: it is no order.
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
        """Keep orders and tell all gateways; returns how many were told at once.

        Args:
            replicated: see `clarion_contract.bus.bus.Bus.run`.

        Raises:
            OrdersFull: too many are in force.
            BusUnavailable: Redis or its replicas did not answer. To give the same orders again does
                no harm.
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
        """All orders that Redis holds, still encoded; those that have ended may be among them.

        Raises:
            BusUnavailable: Redis did not answer.
        """
        return list(await self._bus.command("ZRANGE", self._key, 0, -1))
