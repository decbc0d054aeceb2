"""A circuit breaker: after many failures in a row, calls fail at once until a trial succeeds.

A backend that hangs would otherwise hold every slot for the time-out of each call, and a backend
that comes back would meet all waiting clients at once. Pure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_OPEN_SECONDS: Final = 1.0
_OPEN_MAX_SECONDS: Final = 15.0


class Circuit:
    """The state of calls to one backend.

    Args:
        failures: so many in a row open the circuit.
    """

    def __init__(self, failures: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._clock = clock
        self._failures = 0
        self._open_seconds = _OPEN_SECONDS
        self._open_until: float | None = None
        self._trial = False

    @property
    def open(self) -> bool:
        """Whether calls fail at once, except for a trial now and then."""
        return self._open_until is not None

    def refuses(self) -> bool:
        """Whether `enter` would say no now."""
        return self._open_until is not None and (self._trial or self._clock() < self._open_until)

    def enter(self) -> bool:
        """Whether a call may go out. If so, tell its outcome.

        While the circuit is open, one call at a time goes out as a trial.
        """
        if self.refuses():
            return False
        self._trial = self._open_until is not None
        return True

    def succeeded(self) -> None:
        """A call was answered, whatever the answer says."""
        self._failures = 0
        self._open_until = None
        self._open_seconds = _OPEN_SECONDS
        self._trial = False

    def failed(self) -> None:
        """A call was not answered, or the backend said that it cannot answer now."""
        self._failures += 1
        if self._trial or (self._open_until is None and self._failures >= self._limit):
            if self._trial:
                self._open_seconds = min(2 * self._open_seconds, _OPEN_MAX_SECONDS)
            self._open_until = self._clock() + self._open_seconds
            self._trial = False

    def abandoned(self) -> None:
        """A call was given up by its caller, and says nothing of the backend."""
        self._trial = False
