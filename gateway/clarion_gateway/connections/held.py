"""What waits for a connection that catches up: events that came in, and losses, in their order.

Pure values, no I/O. `clarion_gateway.connections.hub` gives a connection its `Held` and takes it
away; `clarion_gateway.delivery.fanout` adds events, and `clarion_gateway.clients.resumption` adds
gaps and takes all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clarion_contract.events.event import Event


@dataclass(frozen=True, slots=True)
class Gap:
    """A loss: events at or below a position are missing to the client."""

    position: int


Item = Event | Gap
"""What waits for a client that catches up."""


class Held:
    """Items in the order in which they came.

    Attributes:
        cost_bytes: memory that the events take.
    """

    __slots__ = ("_items", "cost_bytes")

    def __init__(self) -> None:
        self.cost_bytes = 0
        self._items: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    def add(self, items: Iterable[Item]) -> None:
        """Keep items until they are taken."""
        for item in items:
            self._items.append(item)
            if not isinstance(item, Gap):
                self.cost_bytes += item.cost_bytes

    def take(self) -> list[Item]:
        """All items that were not taken before."""
        items, self._items = self._items, []
        self.cost_bytes = 0
        return items
