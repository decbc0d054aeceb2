"""Whether a service should get traffic, why not, and what is wrong although it should.

A service calculates its `Health` from its parts. The internal port shows it, and `HealthLog` writes
each change of it to the log.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

_log = structlog.get_logger(__name__)

# How often health is looked at. A cause that comes and goes in between is not logged.
_LOOK_SECONDS: Final = 0.5
# A service that becomes ready within this time has started as it should, and logs nothing of it.
_START_LOOKS: Final = 20


class Health(NamedTuple):
    """The state of a service.

    Attributes:
        reasons: why it should get no traffic; empty: it should.
        warnings: what is wrong although it should get traffic.
    """

    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether it should get traffic."""
        return not self.reasons

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.reasons and not self.warnings


class HealthLog:
    """Writes each change of a service's health to the log, with its reasons."""

    def __init__(self, health: Callable[[], Health]) -> None:
        self._health = health
        self._known: Health | None = None
        self._looks = 0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Log the health if it has changed; numbers in a reason are no change."""
        health, before = self._health(), self._known
        self._looks += 1
        if before is None and (health.sound or (health.reasons and self._looks < _START_LOOKS)):
            self._known = health if health.sound else None
            return
        if before is not None and _shape(health) == _shape(before):
            return
        self._known = health
        if health.reasons:
            _log.warning("not ready", reasons=list(health.reasons))
        elif health.warnings:
            _log.warning("ready, with warnings", warnings=list(health.warnings))
        else:
            _log.info("ready")


def _shape(health: Health) -> Health:
    """A health without numbers, such as seconds and counts, which change all the time."""
    return Health(*(tuple(re.sub(r"\d[\d.]*", "#", text) for text in texts) for texts in health))
