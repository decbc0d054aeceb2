"""The heartbeat of an Engine.IO session: when to ping, and when the client is gone. No I/O.

The server pings; the client answers, on either transport. The next ping is due one interval after
the answer. `clarion_gateway.connections.heartbeats` asks when the time has come.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

# The first interval is shortened by up to this share: else clients that came together would be
# pinged together for ever.
_SPREAD_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Timing:
    """The times that all sessions of a pod have.

    Attributes:
        interval_seconds: from a pong to the next ping.
        timeout_seconds: how long a client may take to answer a ping.
    """

    interval_seconds: float
    timeout_seconds: float


class Beat(Enum):
    """The step that is due."""

    NOTHING = auto()
    PING = auto()
    GIVE_UP = auto()


class Heartbeat:
    """One session's.

    Attributes:
        due_at: when to call `beat` next, on the clock that the caller uses.
        awaiting_pong: whether a ping has had no answer yet.
    """

    __slots__ = ("_timing", "awaiting_pong", "due_at")

    def __init__(
        self, timing: Timing, now: float, *, choose: Callable[[], float] = random.random
    ) -> None:
        """Begin with the session.

        Args:
            now: on the caller's clock, in seconds.
            choose: returns a random number from 0 to 1.
        """
        self._timing = timing
        self.awaiting_pong = False
        self.due_at = now + timing.interval_seconds * (1 - _SPREAD_SHARE * choose())

    def beat(self, now: float, *, is_reading: bool = True) -> Beat:
        """The step that is due now. A ping counts as sent from here on.

        Args:
            is_reading: whether the server takes what the client sends. If it does not, the pong
                waits behind other messages, and the client is not given up.
        """
        if now < self.due_at:
            return Beat.NOTHING
        if self.awaiting_pong and is_reading:
            return Beat.GIVE_UP
        self.awaiting_pong = True
        self.due_at = now + self._timing.timeout_seconds
        return Beat.PING

    def pong(self, now: float) -> bool:
        """Note that a pong has come; returns whether a ping had asked for it."""
        if not self.awaiting_pong:
            return False
        self.awaiting_pong = False
        self.due_at = now + self._timing.interval_seconds
        return True
