"""Bounds the memory of all bytes that wait for slow clients, over the whole pod. No I/O.

Each client may leave a number of bytes waiting, but a pod does not have that much memory for every
client. A client is *behind* once the kernel takes no more bytes for it. Its transport then asks for
a `Backlog`, which counts the bytes that are written from then on. Other clients cost nothing here.

Clients that hear the same events wait for the same buffers, which take memory once. So rounds
announce such a buffer as `Outbound.shared`, and it counts once for all of them. The same is true
for events that wait for clients that catch up (`clarion_gateway.connections.held`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection
from clarion_gateway.connections.waiting import Waiting

UNBOUNDED: Final = 1 << 62
# Memory of one buffer for one client beside its bytes: places in queues, and the object.
_ENTRY_BYTES: Final = 160
# The share of the budget that is freed at once. A pod at its budget thus seldom has to look for the
# largest backlogs.
_FREED_SHARE: Final = 1 / 16


class Backlog:
    """The buffers that wait for one client, the oldest first.

    Attributes:
        connection: the client's.
        own_bytes: memory that is needed for this client only.
    """

    __slots__ = (
        "_buffers", "_outbound", "_unsent_bytes", "_waiting_bytes", "connection", "own_bytes",
    )  # fmt: skip

    def __init__(
        self, outbound: Outbound, connection: Connection, unsent_bytes: Callable[[], int]
    ) -> None:
        self.connection = connection
        self.own_bytes = 0
        self._outbound = outbound
        self._unsent_bytes = unsent_bytes
        self._buffers: deque[tuple[bytes | None, int]] = deque()  # None: no other client's
        self._waiting_bytes = 0

    def add(self, data: bytes) -> None:
        """Count a buffer that was written, until the kernel has taken all of it."""
        self._append(data if data is self._outbound.shared else None, len(data))
        self.forget_sent()
        self._outbound.check()

    def begin(self) -> None:
        """Count the bytes that were written before and wait, and the buffer being written now."""
        unsent_bytes = self._unsent_bytes()
        shared = self._outbound.shared
        if shared is not None:
            self._append(shared, len(shared))
            unsent_bytes -= len(shared)
        if unsent_bytes > 0:
            self._append(None, unsent_bytes)
        self._outbound.check()

    def forget_sent(self) -> None:
        """Forget buffers that the kernel has taken."""
        unsent_bytes = self._unsent_bytes()
        while self._buffers and self._waiting_bytes - self._buffers[0][1] >= unsent_bytes:
            self._forget_first()

    def end(self) -> None:
        """Forget everything, since the client has caught up or is gone."""
        while self._buffers:
            self._forget_first()
        self._outbound.forget(self)

    def _append(self, shared: bytes | None, size_bytes: int) -> None:
        self._buffers.append((shared, size_bytes))
        self._waiting_bytes += size_bytes
        if shared is not None:
            self._outbound.waiting.hold(shared, size_bytes)
            size_bytes = 0
        self._own(size_bytes + _ENTRY_BYTES)

    def _forget_first(self) -> None:
        shared, size_bytes = self._buffers.popleft()
        self._waiting_bytes -= size_bytes
        if shared is not None:
            self._outbound.waiting.let_go(shared, size_bytes)
            size_bytes = 0
        self._own(-size_bytes - _ENTRY_BYTES)

    def _own(self, size_bytes: int) -> None:
        self.own_bytes += size_bytes
        self._outbound.waiting.used_bytes += size_bytes


class Outbound:
    """The budget for bytes that wait, over all clients.

    Attributes:
        waiting: the waiting buffers and events, and their memory.
        shared: the buffer that a round is writing to many connections right now.
        catching_up: connections that may hold events back; set by the hub.
    """

    def __init__(self, max_bytes: int = UNBOUNDED) -> None:
        """Begin with nothing that waits.

        Args:
            max_bytes: memory for all connections together.
        """
        self.waiting = Waiting()
        self.shared: bytes | None = None
        self.catching_up: Iterable[Connection] = ()
        self._max_bytes = max_bytes
        self._backlogs: dict[Backlog, None] = {}

    def behind(self, connection: Connection, unsent_bytes: Callable[[], int]) -> Backlog:
        """Begin the backlog of a client that takes less than it is sent, until `Backlog.end`.

        Args:
            unsent_bytes: returns how many written bytes the transport still has.
        """
        backlog = Backlog(self, connection, unsent_bytes)
        self._backlogs[backlog] = None
        return backlog

    def forget(self, backlog: Backlog) -> None:
        """Forget a backlog that has ended."""
        self._backlogs.pop(backlog, None)

    def check(self) -> None:
        """If all backlogs together take too much, cut off the clients with the largest."""
        if self.waiting.used_bytes > self._max_bytes:
            self._make_room()

    def _make_room(self) -> None:
        """Cut off the clients that need the most memory for themselves, until there is room."""
        goal_bytes = self._max_bytes * (1 - _FREED_SHARE)
        for backlog in self._backlogs:
            backlog.forget_sent()
        own_bytes: Counter[Connection] = Counter()
        for backlog in self._backlogs:
            own_bytes[backlog.connection] += backlog.own_bytes
        for connection in self.catching_up:
            if connection.held is not None:
                own_bytes[connection] += connection.held.total_bytes
        for connection, _ in own_bytes.most_common():
            if self.waiting.used_bytes <= goal_bytes:
                return
            connection.cut(close_codes.OUTBOUND_FULL)
