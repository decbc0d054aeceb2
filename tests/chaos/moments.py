"""The one clock of a scenario."""

from __future__ import annotations

import time


def now_us() -> int:
    """Microseconds since 1970, as ids count them: Redis runs on this machine."""
    return time.time_ns() // 1_000
