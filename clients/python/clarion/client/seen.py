"""The ids of the last minute's events, to recognise what comes again."""

from __future__ import annotations

from collections import deque
from typing import Final

# Longer than the time span that a gateway may read again (docs/protocol.md, "No event twice").
_REMEMBERED_MICROSECONDS: Final = 60_000_000


class Seen:
    """On a Redis Cluster, a client that resumes may get events again; elsewhere ids are new."""

    def __init__(self) -> None:
        self._ids: set[tuple[int, str | None]] = set()
        self._in_order: deque[tuple[int, str | None]] = deque()

    def add(self, id_: int, topic: str | None = None) -> bool:
        """Add an id. Returns whether it is new.

        Args:
            topic: the event's. On a cluster, events of two topics may have the same id.
        """
        if (id_, topic) in self._ids:
            return False
        self._ids.add((id_, topic))
        self._in_order.append((id_, topic))
        while self._in_order[0][0] < id_ - _REMEMBERED_MICROSECONDS:
            self._ids.discard(self._in_order.popleft())
        return True
