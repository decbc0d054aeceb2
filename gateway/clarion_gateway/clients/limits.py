"""What one client may use: messages per second. Arithmetic on a clock that the caller reads."""

from __future__ import annotations


class TokenBucket:
    """Allows ``rate`` messages a second on average and ``burst`` at once."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: float, now: float) -> None:
        self._tokens = burst
        self._at = now

    def take(self, now: float, *, rate: float, burst: float) -> bool:
        """Spend one message; False when there is none left."""
        self._tokens = min(burst, self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
