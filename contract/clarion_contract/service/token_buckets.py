"""Token buckets of many clients, one for each name, in bounded memory.

The publisher has one for the events of each caller, the gateway one for the handshakes of each
address.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from clarion_contract.service.token_bucket import TokenBucket

_BUCKETS_MAX: Final = 10_000


class TokenBuckets:
    """The buckets of all clients. A rate of 0 means no limit.

    Example::

        buckets = TokenBuckets(rate=20, burst=60)
        wait_seconds = buckets.take("billing")
        if wait_seconds is not None:
            ...  # too fast: try again after that time
    """

    def __init__(
        self, *, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with full buckets.

        Args:
            rate: tokens per second of each bucket.
            burst: tokens that a full bucket holds.
        """
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}

    def __len__(self) -> int:
        """The number of clients that are remembered."""
        return len(self._buckets)

    def take(self, name: str, amount: float = 1) -> float | None:
        """Take tokens from a client's bucket, as `TokenBucket.take` does.

        Returns:
            None if they were there; else the seconds until the client may try again.
        """
        if not self._rate:
            return None
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[name] = TokenBucket(self._burst, now)
        if bucket.take(now, rate=self._rate, burst=self._burst, amount=amount):
            return None
        return bucket.wait_seconds(rate=self._rate)

    def _make_room(self, now: float) -> None:
        """Forget full buckets, or else the oldest ones, so that memory stays bounded."""
        if len(self._buckets) < _BUCKETS_MAX:
            return
        self._buckets = {
            name: bucket
            for name, bucket in self._buckets.items()
            if not bucket.is_full(now, rate=self._rate, burst=self._burst)
        }
        # Remove many at once: going through all buckets for each new name would be slow.
        room = _BUCKETS_MAX - _BUCKETS_MAX // 10
        for name in list(self._buckets)[: max(0, len(self._buckets) - room + 1)]:
            del self._buckets[name]
