"""The one deadline of a connection: it is only ever replaced, never cancelled. No I/O.

So no sequence of bytes keeps a connection for ever.
"""

from __future__ import annotations

from typing import Final

from clarion_contract.service.http_port import HttpLimits

# What a connection waits for. Plain numbers, since an enum member costs two look-ups at each use.
IDLE: Final = 0  # the next request
HEAD: Final = 1  # the rest of a head
BODY: Final = 2  # the rest of a body
ANSWER: Final = 3  # the app to give an answer and the client to take it
LAST: Final = 4  # the client to read its last answer

# After its answer, a client that is still sending gets this much time to read the answer. It gets
# more when the app has answered before the body was complete than when a limit was broken. If we
# closed at once, the connection would be reset and the answer lost.
_LINGER_SECONDS: Final = 1.0
_LINGER_BODY_SECONDS: Final = 5.0
# A connection ends after this time if the client does not take the answer or the app gives none.
_ANSWER_SECONDS: Final = 60.0
# The rate of a body is measured over this time, so that a short stall does no harm.
RATE_WINDOW_SECONDS: Final = 5.0


class Deadline:
    """When a connection ends unless it goes on to another phase before.

    Attributes:
        at: on the loop's clock.
        phase: what the connection waits for.
        request_ends: by when the current request must be complete.
    """

    __slots__ = ("_limits", "at", "phase", "request_ends")

    def __init__(self, limits: HttpLimits) -> None:
        self.at = 0.0
        self.phase = IDLE
        self.request_ends = 0.0
        self._limits = limits

    def connected(self, now: float) -> None:
        """The connection begins."""
        if self._limits.idle_seconds is None:
            self.phase = HEAD
            self.at = self.request_ends = now + self._limits.request_seconds
        else:
            self.wait_idle(now)

    def wait_idle(self, now: float) -> None:
        """The time until the next request begins anew."""
        self.at = now + (self._limits.idle_seconds or 0)

    def enter(self, phase: int, now: float, *, is_early: bool = False) -> None:
        """The connection waits for something else.

        Args:
            is_early: the app answered before the body was complete.
        """
        before, self.phase = self.phase, phase
        if phase == ANSWER:
            self.at = now + _ANSWER_SECONDS
        elif phase == IDLE:
            self.wait_idle(now)
        elif phase == LAST:
            self.at = now + (_LINGER_BODY_SECONDS if is_early else _LINGER_SECONDS)
        else:
            if phase == HEAD or before != HEAD:
                self.request_ends = now + self._limits.request_seconds
            self.at = self.request_ends
            if phase == BODY:
                self.measure_rate(now)

    def measure_rate(self, now: float) -> None:
        """Look at the body's rate after a while, where there is a least one."""
        if self._limits.body_bytes_per_second:
            self.at = min(self.request_ends, now + RATE_WINDOW_SECONDS)
