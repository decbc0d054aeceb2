"""The rate at which each caller may publish through this pod: one token bucket per caller.

If the bucket holds any token, a batch passes whole, and its caller waits longer afterwards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from clarion_contract.service.token_bucket import TokenBucket
from clarion_publisher.ingestion.refusal import RATE_LIMITED, Refusal

_BUCKETS_MAX: Final = 10_000


class RateLimit:
    """The buckets of all callers. A rate of 0 means no limit."""

    def __init__(
        self,
        *,
        events_per_second: float,
        burst_events: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = events_per_second
        self._burst = float(burst_events)
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, caller: str, events: int) -> None:
        """Take tokens from the caller's bucket.

        Raises:
            Refusal: the bucket is empty; the refusal says when to try again.
        """
        if not self._rate:
            return
        now = self._clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[caller] = TokenBucket(self._burst, now)
        if not bucket.take(now, rate=self._rate, burst=self._burst, amount=events):
            raise Refusal(
                RATE_LIMITED,
                f"expected at most {self._rate:g} events per second from one caller",
                retry_after_seconds=max(1, math.ceil(bucket.wait_seconds(rate=self._rate))),
            )

    def _make_room(self, now: float) -> None:
        """Forget full buckets, or else the oldest ones, so that memory stays bounded."""
        if len(self._buckets) < _BUCKETS_MAX:
            return
        self._buckets = {
            caller: bucket
            for caller, bucket in self._buckets.items()
            if not bucket.is_full(now, rate=self._rate, burst=self._burst)
        }
        # Remove many at once: going through all buckets for each new caller would be slow.
        room = _BUCKETS_MAX - _BUCKETS_MAX // 10
        for caller in list(self._buckets)[: max(0, len(self._buckets) - room + 1)]:
            del self._buckets[caller]
