"""A bus that measures each round trip, and logs once when Redis is lost or found again."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from clarion_contract.bus.bus import Answer
from clarion_contract.bus.publish_queue import PublishingBus
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Publication
from clarion_contract.service.telemetry import traced_logs
from clarion_publisher.metrics import Metrics

_log = structlog.get_logger(__name__)


class WatchedBus:
    """A wrapper between the publish queue and the bus."""

    def __init__(self, bus: PublishingBus, metrics: Metrics) -> None:
        self._bus = bus
        self._metrics = metrics
        self._lost = False

    async def publish(self, publications: Sequence[Publication]) -> list[Answer]:
        """See `clarion_contract.bus.bus.Bus.publish`."""
        started = time.perf_counter()
        try:
            answers = await self._bus.publish(publications)
        except BusUnavailable as error:
            self._fail(error, publications)
            raise
        finally:
            self._metrics.pipeline(len(publications), time.perf_counter() - started)
        refused = [answer for answer in answers if isinstance(answer, BusUnavailable)]
        if refused and len(refused) == len(answers):  # e.g. by a primary that became a replica
            self._fail(refused[0], publications)
        elif self._lost:
            self._lost = False
            _log.info("bus found again")
        return answers

    def _fail(self, error: BusUnavailable, publications: Sequence[Publication]) -> None:
        self._metrics.bus_error()
        if self._lost:
            return
        self._lost = True
        # The trace of one of the failed requests, as an example to look at.
        traces = (each.trace for each in publications if each.trace is not None)
        with traced_logs(next(traces, None)):
            _log.warning("bus lost", reason=str(error))
