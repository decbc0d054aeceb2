"""Memory of what waits for clients, with what several of them wait for counted once.

No I/O. `clarion_gateway.connections.outbound` bounds it.
"""

from __future__ import annotations


class Waiting:
    """The memory of all that waits.

    Attributes:
        used_bytes: all of it.
    """

    __slots__ = ("_holders", "used_bytes")

    def __init__(self) -> None:
        self.used_bytes = 0
        self._holders: dict[int, int] = {}

    def hold(self, thing: object, size_bytes: int) -> None:
        """A client waits for an object that others may wait for, too; `let_go` of it later.

        Args:
            thing: the caller keeps it until then.
        """
        holders = self._holders.get(id(thing), 0)
        self._holders[id(thing)] = holders + 1
        if not holders:
            self.used_bytes += size_bytes

    def let_go(self, thing: object, size_bytes: int) -> None:
        """A client waits for an object no longer."""
        holders = self._holders[id(thing)] - 1
        if holders:
            self._holders[id(thing)] = holders
        else:
            del self._holders[id(thing)]
            self.used_bytes -= size_bytes
