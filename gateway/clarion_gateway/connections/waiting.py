"""Counts the memory of buffers and events that wait for clients; shared ones count once. No I/O.

`clarion_gateway.connections.outbound` bounds it.
"""

from __future__ import annotations


class Waiting:
    """The memory of everything that waits for clients.

    Attributes:
        used_bytes: memory of all of it.
    """

    __slots__ = ("_holders", "used_bytes")

    def __init__(self) -> None:
        self.used_bytes = 0
        self._holders: dict[int, int] = {}

    def hold(self, thing: object, size_bytes: int) -> None:
        """Count an object for one more client that waits for it; `let_go` of it later.

        Args:
            thing: a buffer or an event. The caller keeps it alive until then.
        """
        holders = self._holders.get(id(thing), 0)
        self._holders[id(thing)] = holders + 1
        if not holders:
            self.used_bytes += size_bytes

    def let_go(self, thing: object, size_bytes: int) -> None:
        """Count an object for one client less; without any client, its memory is free."""
        holders = self._holders[id(thing)] - 1
        if holders:
            self._holders[id(thing)] = holders
        else:
            del self._holders[id(thing)]
            self.used_bytes -= size_bytes
