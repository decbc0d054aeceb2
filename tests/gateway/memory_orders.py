"""Orders in memory, kept as `clarion_contract.bus.orders.Orders` keeps them in Redis."""

from __future__ import annotations

from collections.abc import Sequence

from clarion_contract.bus.orders import Order, encode_order
from clarion_contract.events.errors import BusUnavailable, OrdersFull


class MemoryOrders:
    """Keeps orders; notifies nobody.

    Attributes:
        kept: the orders in Redis.
        down: whether Redis does not answer.
        full: whether Redis takes no more.
    """

    def __init__(self, *kept: Order) -> None:
        self.kept = [encode_order(order) for order in kept]
        self.down = False
        self.full = False

    async def give(self, orders: Sequence[Order]) -> int:
        if self.full:
            raise OrdersFull("full")
        self.kept += [encode_order(order) for order in orders]
        return 1

    async def read(self) -> list[bytes]:
        if self.down:
            raise BusUnavailable("down")
        return list(self.kept)
