"""Events and gaps that wait for a connection while it catches up, in order. No I/O.

`clarion_gateway.connections.hub` gives a connection its `Held` and takes it away.
`clarion_gateway.delivery.fanout` adds events. `clarion_gateway.clients.resumption` adds gaps, and
takes everything out to send it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clarion_contract.events.event import Event


@dataclass(frozen=True, slots=True)
class Gap:
    """A loss: the client lacks events at or below a position."""

    position: int


Item = Event | Gap
"""Anything that waits for a client that catches up."""


class Held:
    """Events and gaps in the order in which they came.

    Attributes:
        cost_bytes: memory that the events take, by `Event.cost_bytes`.
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
        """Remove all items, and return them in order."""
        items, self._items = self._items, []
        self.cost_bytes = 0
        return items
