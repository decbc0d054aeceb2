"""The rate at which each caller may publish through this pod: one token bucket per caller.

If the bucket holds any token, a batch passes whole, and its caller waits longer afterwards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from clarion_contract.service.token_buckets import TokenBuckets
from clarion_publisher.ingestion.refusal import RATE_LIMITED, Refusal


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
        self._buckets = TokenBuckets(rate=events_per_second, burst=burst_events, clock=clock)

    def take(self, caller: str, events: int) -> None:
        """Take tokens from the caller's bucket.

        Raises:
            Refusal: the bucket is empty; the refusal says when to try again.
        """
        wait_seconds = self._buckets.take(caller, events)
        if wait_seconds is not None:
            raise Refusal(
                RATE_LIMITED,
                f"expected at most {self._rate:g} events per second from one caller",
                retry_after_seconds=max(1, math.ceil(wait_seconds)),
            )
