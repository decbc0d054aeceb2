"""Beats the hearts of all Engine.IO sessions of the pod, from one timer.

It is a wheel of slots as fine as the shortest of the two times asks for. A session that has got its
pong is not moved: it is visited too early once, does nothing, and says when it is due. So a pong
costs the wheel nothing.

`clarion_gateway.connections.keepalive` does this for other connections: their pings have no
deadline of their own.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import structlog

from clarion_gateway.wire.engineio.heartbeat import Timing

_TICKS_PER_TIME: Final = 20
_TICK_MIN_SECONDS: Final = 0.01
_TICK_MAX_SECONDS: Final = 1.0
# A tick that comes later than this waits once more: pongs that came during a stall are read first.
_LATE_TICKS: Final = 2

_log = structlog.get_logger(__name__)


class Beating(Protocol):
    """A session as the wheel sees it.

    Attributes:
        slot: its place in the wheel, which alone sets it; -1: it has none.
    """

    slot: int

    def beat(self, now: float) -> float | None:
        """Do what is due.

        Args:
            now: on the event loop's clock.

        Returns:
            When to be called again. None: never.
        """
        ...


class Heartbeats:
    """The sessions of the pod by the time at which they are due.

    Attributes:
        timing: the times that all of them have.
    """

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        shortest = min(timing.interval_seconds, timing.timeout_seconds)
        self.tick_seconds = min(
            max(shortest / _TICKS_PER_TIME, _TICK_MIN_SECONDS), _TICK_MAX_SECONDS
        )
        self._slots: dict[int, dict[Beating, None]] = {}
        self._next = 0  # the first slot that has not been visited
        self._count = 0
        self._ticking = False
        self._waited = False

    def __len__(self) -> int:
        return self._count

    def add(self, session: Beating, due_at: float) -> None:
        """Call a session when it is due, on the event loop's clock. Needs a running event loop."""
        if not self._ticking:
            self._ticking = True
            self._next = self._slot(asyncio.get_running_loop().time())
            self._wait(self.tick_seconds)
        self._count += 1
        self._place(session, due_at)

    def remove(self, session: Beating) -> None:
        """Forget a session."""
        if session.slot >= 0:
            self._count -= 1
            sessions = self._slots.get(session.slot)
            if sessions is not None:
                sessions.pop(session, None)
            session.slot = -1

    def _place(self, session: Beating, due_at: float) -> None:
        session.slot = max(self._next, self._slot(due_at) + 1)
        self._slots.setdefault(session.slot, {})[session] = None

    def _slot(self, time: float) -> int:
        return int(time / self.tick_seconds)

    def _wait(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._tick)

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        current = self._slot(now)
        if current - self._next > _LATE_TICKS and not self._waited:
            self._waited = True
            self._wait(_TICK_MIN_SECONDS / 10)
            return
        self._waited = False
        while self._next <= current:
            sessions = self._slots.pop(self._next, {})
            self._next += 1
            for session in list(sessions):
                if session.slot >= 0:  # a session before it may have ended it
                    self._visit(session, now)
        self._ticking = self._count > 0
        if self._ticking:
            self._wait(self.tick_seconds)

    def _visit(self, session: Beating, now: float) -> None:
        try:
            due_at = session.beat(now)
        except Exception:  # noqa: BLE001 - one session's bug must not keep the others waiting
            _log.exception("heartbeat failed")
            due_at = now + self.timing.timeout_seconds
        if session.slot < 0:
            return
        if due_at is None:
            self.remove(session)
        else:
            self._place(session, due_at)
