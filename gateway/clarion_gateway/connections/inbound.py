"""Bounds the memory of messages that are not handled yet, over the whole pod. No I/O.

Each client has bounds of its own, but a pod does not have that much memory for every client.
Transports count the parts of messages that are still coming in, and `clarion_gateway.clients.inbox`
counts messages that wait for handlers. Past the budget, the clients with the most are closed.
"""

from __future__ import annotations

import heapq
from typing import Final

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection, State

# The share of the budget that is freed at once. A pod at its budget thus seldom has to look for the
# largest clients.
_FREED_SHARE: Final = 1 / 16
_CLOSED_AT_ONCE: Final = 64


class Inbound:
    """The memory of messages that are not handled yet, by connection.

    Attributes:
        used_bytes: memory over all connections.
    """

    def __init__(self, max_bytes: int) -> None:
        """Begin with nothing held.

        Args:
            max_bytes: memory for all connections together.
        """
        self.used_bytes = 0
        self._max_bytes = max_bytes
        self._held: dict[Connection, int] = {}

    def hold(self, connection: Connection, size_bytes: int) -> None:
        """Count more memory for a connection; `release` it in any case, also after a close.

        It may close connections, including this one.
        """
        self._held[connection] = self._held.get(connection, 0) + size_bytes
        self.used_bytes += size_bytes
        if self.used_bytes > self._max_bytes:
            self._make_room()

    def release(self, connection: Connection, size_bytes: int) -> None:
        """Count less memory for a connection."""
        self.used_bytes -= size_bytes
        left_bytes = self._held.get(connection, 0) - size_bytes
        if left_bytes > 0:
            self._held[connection] = left_bytes
        else:
            self._held.pop(connection, None)

    def take(self, size_bytes: int) -> bool:
        """Count memory of a request that has no connection yet, if there is room for it.

        `give_back` it then.
        """
        if self.used_bytes + size_bytes > self._max_bytes:
            return False
        self.used_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Count less memory, of `take`."""
        self.used_bytes -= size_bytes

    def _make_room(self) -> None:
        """Close the connections with the most memory; messages in handlers stay until their end."""
        goal_bytes = self._max_bytes * (1 - _FREED_SHARE)
        open_ = (each for each in self._held if each.state is not State.CLOSED)
        for connection in heapq.nlargest(_CLOSED_AT_ONCE, open_, key=self._held.__getitem__):
            if self.used_bytes <= goal_bytes:
                return
            connection.close(close_codes.INBOUND_FULL)
