"""A token bucket: limits a rate on average and allows bursts. The caller reads the clock.

The gateway has one for the messages of each connection, the publisher one for the events of each
caller.
"""

from __future__ import annotations


class TokenBucket:
    """The allowance of one client.

    The caller passes rate and burst, because thousands of buckets share them. Example::

        bucket = TokenBucket(burst=60, now=clock())
        if not bucket.take(clock(), rate=20, burst=60):
            ...  # too fast
    """

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: float, now: float) -> None:
        self._tokens = burst
        self._at = now

    def take(self, now: float, *, rate: float, burst: float, amount: float = 1) -> bool:
        """Spend ``amount`` tokens. False if less than one token is left; then nothing is spent.

        One call may take more than is left. The bucket then goes into debt and takes longer to
        fill. So a batch larger than the burst is slowed down, not refused for ever.

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
        """Seconds after the last `take` until one token is available; 0: it is available."""
        return max(0.0, (1 - self._tokens) / rate)

    def is_full(self, now: float, *, rate: float, burst: float) -> bool:
        """Whether the bucket is full, and so equal to a new one."""
        return self._tokens + (now - self._at) * rate >= burst
