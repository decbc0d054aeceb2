"""Pings all connections and closes those whose token has ended, from one task without timers.

It is a wheel of one-second slots, as many as the ping interval has seconds. A new connection gets a
random slot, so that pings never come in bursts. Admission adds connections; sessions remove them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

import structlog

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection, State

_TICK_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class Sweeper:
    """Pings every connection once per ping interval, and closes those whose token has ended.

    Attributes:
        lag_seconds: how late the event loop woke the sweeper last time.

    Args:
        token_grace_seconds: how long a connection may outlive its token.
        choose: returns a random number below its argument.
    """

    def __init__(
        self,
        *,
        ping_interval_seconds: int,
        token_grace_seconds: float,
        clock: Callable[[], float] = time.time,
        choose: Callable[[int], int] = random.randrange,
    ) -> None:
        self.lag_seconds = 0.0
        self._slots: list[dict[Connection, None]] = [{} for _ in range(ping_interval_seconds)]
        self._expiring: dict[int, list[Connection]] = {}
        self._grace_seconds = token_grace_seconds
        self._clock = clock
        self._choose = choose
        self._tick = 0

    def add(self, connection: Connection) -> None:
        """Ping a connection from now on, and watch its token."""
        connection.slot = self._choose(len(self._slots))
        self._slots[connection.slot][connection] = None
        self.watch_expiry(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        if connection.slot >= 0:
            self._slots[connection.slot].pop(connection, None)

    def watch_expiry(self, connection: Connection) -> None:
        """Close the connection when its token has ended, unless the client refreshes it before.

        A token that ends after the next ping is looked at again then. So nothing is kept for hours
        for connections that have closed long before.
        """
        expires_at = connection.identity.expires_at
        if expires_at is None:
            return
        ends_at = expires_at + self._grace_seconds
        if ends_at < self._clock() + len(self._slots) + _TICK_SECONDS:
            self._expiring.setdefault(int(ends_at) + 1, []).append(connection)

    def sweep(self) -> None:
        """Do one tick: ping the connections of one slot; close silent and expired ones."""
        slot = self._slots[self._tick % len(self._slots)]
        self._tick += 1
        for connection in list(slot):
            try:
                self._visit(connection)
            except Exception:  # noqa: BLE001 - one socket's bug must not keep the others waiting
                _log.exception("keepalive failed", connection=connection.id)
                connection.close(close_codes.INTERNAL_ERROR)
        now = self._clock()
        for second in [second for second in self._expiring if second <= now]:
            for connection in self._expiring.pop(second):
                if connection.state is not State.CLOSED and self._has_expired(connection, now):
                    connection.close(close_codes.EXPIRED)

    def _visit(self, connection: Connection) -> None:
        if not connection.socket.is_reading:
            # Its pongs wait in the kernel behind its messages, but it must hear that the pod lives.
            connection.write(connection.format.visible_ping)
        elif connection.socket.awaiting_pong:
            connection.close(close_codes.KEEP_ALIVE)
        else:
            connection.socket.ping()
            self.watch_expiry(connection)

    async def run(self) -> None:
        """Tick for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time() + _TICK_SECONDS
        while True:
            await asyncio.sleep(due - loop.time())
            self.lag_seconds = max(0.0, loop.time() - due)
            self.sweep()
            # After a stall, missed ticks are left out: to catch up would be a burst of pings.
            due = max(due + _TICK_SECONDS, loop.time())

    def _has_expired(self, connection: Connection, now: float) -> bool:
        expires_at = connection.identity.expires_at
        return expires_at is not None and expires_at + self._grace_seconds <= now
