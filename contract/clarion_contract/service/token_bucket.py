"""A token bucket: a rate on average, a burst at once. Arithmetic on a clock that the caller reads.

The gateway has one for each connection's messages, the publisher one for each caller's events.
"""

from __future__ import annotations


class TokenBucket:
    """What one client may use.

    Rate and burst are the caller's, since thousands of buckets share them. Example::

        bucket = TokenBucket(burst=60, now=clock())
        if not bucket.take(clock(), rate=20, burst=60):
            ...  # too fast
    """

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: float, now: float) -> None:
        self._tokens = burst
        self._at = now

    def take(self, now: float, *, rate: float, burst: float, amount: float = 1) -> bool:
        """Spend ``amount`` tokens; False, and nothing is spent, when less than one is left.

        More than is left may be taken once: the bucket goes into debt and takes longer to fill. So
        a batch that is larger than the burst is slowed, not shut out.

        Args:
            now: seconds, on the clock that the bucket was made with.
            rate: tokens per second.
            burst: tokens that a full bucket holds.
        """
        self._tokens = min(burst, self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= amount
        return True

    def wait_seconds(self, *, rate: float) -> float:
        """How long after the last `take` until one token is there; 0: it is there already."""
        return max(0.0, (1 - self._tokens) / rate)

    def is_full(self, now: float, *, rate: float, burst: float) -> bool:
        """Whether the bucket is as good as a new one."""
        return self._tokens + (now - self._at) * rate >= burst
