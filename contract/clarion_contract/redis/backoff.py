"""The pause before the next attempt to reach Redis.

Pods lose Redis at the same moment. If all of them came back at the same moment too, they would
keep a Redis that has just started from answering anyone.
"""

from __future__ import annotations

from typing import Final

from redis.backoff import EqualJitterBackoff

_BACKOFF: Final = EqualJitterBackoff(cap=2.0, base=0.1)


def reconnect_delay_seconds(failures: int) -> float:
    """A random pause: 0.05 to 0.1 s after the first failure, doubled by each, at most 2 s.

    Args:
        failures: attempts in a row that failed before this one.
    """
    delay: float = _BACKOFF.compute(min(failures, 10))
    return delay
