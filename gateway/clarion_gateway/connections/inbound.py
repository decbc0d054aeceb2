"""What clients have sent and nobody has handled yet: bounds its memory for the whole pod.

Each client has bounds of its own, but those times all clients are more than a pod has. The
transports count what they hold of messages under way, `clarion_gateway.clients.inbox` counts the
messages that wait for handlers. Past the budget, the clients that hold the most are closed.

Pure bookkeeping, no I/O.
"""

from __future__ import annotations

import heapq
from typing import Final

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection, State

# What is freed at once, so that a pod at its budget does not look for the largest all the time.
_FREED_SHARE: Final = 1 / 16
_CLOSED_AT_ONCE: Final = 64


class Inbound:
    """The memory, by connection.

    Attributes:
        used_bytes: over all connections.
    """

    def __init__(self, max_bytes: int) -> None:
        """Begin with nothing held.

        Args:
            max_bytes: of all connections together.
        """
        self.used_bytes = 0
        self._max_bytes = max_bytes
        self._held: dict[Connection, int] = {}

    def hold(self, connection: Connection, size_bytes: int) -> None:
        """A connection holds more; `release` it later, whatever happens to the connection.

        May close connections, this one too.
        """
        self._held[connection] = self._held.get(connection, 0) + size_bytes
        self.used_bytes += size_bytes
        if self.used_bytes > self._max_bytes:
            self._make_room()

    def release(self, connection: Connection, size_bytes: int) -> None:
        """A connection holds less."""
        self.used_bytes -= size_bytes
        left_bytes = self._held.get(connection, 0) - size_bytes
        if left_bytes > 0:
            self._held[connection] = left_bytes
        else:
            self._held.pop(connection, None)

    def _make_room(self) -> None:
        """Close those that hold the most. What a handler works on stays until it is done."""
        goal_bytes = self._max_bytes * (1 - _FREED_SHARE)
        open_ = (each for each in self._held if each.state is not State.CLOSED)
        for connection in heapq.nlargest(_CLOSED_AT_ONCE, open_, key=self._held.__getitem__):
            if self.used_bytes <= goal_bytes:
                return
            connection.close(close_codes.INBOUND_FULL)
