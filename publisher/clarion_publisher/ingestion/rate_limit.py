"""How fast each caller may publish through this pod: one token bucket per caller.

A bucket may go into debt once: a batch passes whole when there is anything left, and its caller
waits longer afterwards. So a batch larger than the burst is slowed, not shut out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from clarion_publisher.ingestion.refusal import RATE_LIMITED, Refusal

_BUCKETS_MAX: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    events: float
    filled_at: float


class RateLimit:
    """The buckets of all callers. A rate of 0 lets everything pass."""

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
        self._buckets: dict[str, _Bucket] = {}

    def take(self, caller: str, events: int) -> None:
        """Take from the caller's bucket.

        Raises:
            Refusal: it is empty; says when to come back.
        """
        if not self._rate:
            return
        now = self._clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            self._drop_full(now)
            bucket = self._buckets[caller] = _Bucket(self._burst, now)
        filled = bucket.events + (now - bucket.filled_at) * self._rate
        bucket.events = min(self._burst, filled)
        bucket.filled_at = now
        if bucket.events < 1:
            raise Refusal(
                RATE_LIMITED,
                f"expected at most {self._rate:g} events per second from one caller",
                retry_after_seconds=max(1, math.ceil((1 - bucket.events) / self._rate)),
            )
        bucket.events -= events

    def _drop_full(self, now: float) -> None:
        """Forget buckets that have filled up again: they are as good as new ones."""
        if len(self._buckets) >= _BUCKETS_MAX:
            self._buckets = {
                caller: bucket
                for caller, bucket in self._buckets.items()
                if bucket.events + (now - bucket.filled_at) * self._rate < self._burst
            }
