"""The time that a client or a producer waits before its next attempt."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 0.25
LAST_SECONDS: Final = 10.0


def backoff_seconds(failures: int, jitter: float) -> float:
    """Exponential, with full jitter: clients that lost the same server come back apart.

    Args:
        failures: attempts in a row that failed before this pause, less one.
        jitter: a random number between 0 and 1.
    """
    return jitter * min(LAST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures, 16))
