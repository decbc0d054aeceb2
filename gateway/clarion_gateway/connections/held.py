"""Events and gaps that wait for a connection while it catches up, in order. No I/O.

`clarion_gateway.connections.hub` gives a connection its `Held` and takes it away.
`clarion_gateway.delivery.fanout` adds events. `clarion_gateway.clients.resumption` adds gaps, and
takes everything out to send it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clarion_contract.events.event import Event
from clarion_gateway.connections.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Gap:
    """A loss: the client lacks events at or below a position."""

    position: int


Item = Event | Gap
"""Anything that waits for a client that catches up."""


class Held:
    """Events and gaps in the order in which they came.

    Attributes:
        cost_bytes: memory of the events that have not been taken, by `Event.cost_bytes`.
    """

    __slots__ = ("_items", "_taken", "_taken_bytes", "_waiting", "cost_bytes")

    def __init__(self, waiting: Waiting) -> None:
        """Begin empty.

        Args:
            waiting: counts the events, as long as they wait or are on their way.
        """
        self.cost_bytes = 0
        self._waiting = waiting
        self._items: list[Item] = []
        self._taken: list[Item] = []
        self._taken_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def total_bytes(self) -> int:
        """Memory of all events, with those that were taken last and are on their way."""
        return self.cost_bytes + self._taken_bytes

    def add(self, items: Iterable[Item]) -> None:
        """Keep items until they are taken."""
        for item in items:
            self._items.append(item)
            if not isinstance(item, Gap):
                self.cost_bytes += item.cost_bytes
                self._waiting.hold(item, item.cost_bytes)

    def take(self) -> list[Item]:
        """Remove all items, and return them in order. Those taken before have been written."""
        self._forget_taken()
        self._taken, self._items = self._items, []
        self._taken_bytes, self.cost_bytes = self.cost_bytes, 0
        return list(self._taken)

    def end(self) -> None:
        """Drop everything: the connection has caught up or is closed."""
        self.take()
        self._forget_taken()

    def _forget_taken(self) -> None:
        for item in self._taken:
            if not isinstance(item, Gap):
                self._waiting.let_go(item, item.cost_bytes)
        self._taken = []
        self._taken_bytes = 0
