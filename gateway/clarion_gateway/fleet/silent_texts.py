"""Ends growing texts whose producers have died, so that clients do not wait for the rest.

Every gateway looks; whichever comes first ends the text, once. See `clarion_contract.bus.texts`.
"""

from __future__ import annotations

import asyncio
from typing import Final, NoReturn, Protocol

import structlog

from clarion_contract.events.errors import BusUnavailable
from clarion_gateway.metrics.registry import Metrics

_INTERVAL_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class Texts(Protocol):
    """The part of `clarion_contract.bus.texts.Texts` that is used here."""

    async def end_silent(self) -> int:
        """See `clarion_contract.bus.texts.Texts.end_silent`."""
        ...


class SilentTexts:
    """Looks after the texts of all topics once a second."""

    def __init__(
        self, texts: Texts, metrics: Metrics, *, interval_seconds: float = _INTERVAL_SECONDS
    ) -> None:
        self._texts = texts
        self._metrics = metrics
        self._interval_seconds = interval_seconds

    async def run(self) -> NoReturn:
        """Look for ever. While Redis is away, nothing can be told."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            try:
                ended = await self._texts.end_silent()
            except BusUnavailable as error:
                _log.debug("growing texts not looked after", error=str(error))
            else:
                self._metrics.texts_lost.inc(ended)
