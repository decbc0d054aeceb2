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
from clarion_publisher.ingestion.bus_probe import BusProbe
from clarion_publisher.metrics import Metrics

_log = structlog.get_logger(__name__)


class WatchedBus:
    """A wrapper between the publish queue and the bus."""

    def __init__(self, bus: PublishingBus, metrics: Metrics, probe: BusProbe) -> None:
        self._bus = bus
        self._probe = probe
        self._metrics = metrics
        self._lost = False

    async def publish(self, publications: Sequence[Publication]) -> list[Answer]:
        """See `clarion_contract.bus.bus.Bus.publish`."""
        started = time.perf_counter()
        try:
            answers = await self._bus.publish(publications)
        except BusUnavailable as error:
            self._fail(error, publications)
            raise self._settled(error) from error
        finally:
            self._metrics.pipeline(len(publications), time.perf_counter() - started)
        refused = [answer for answer in answers if isinstance(answer, BusUnavailable)]
        if refused and len(refused) == len(answers):  # e.g. by a primary that became a replica
            self._fail(refused[0], publications)
        elif self._lost:
            self._lost = False
            self._probe.hurry()
            _log.info("bus found again")
        if refused:
            return [
                self._settled(answer) if isinstance(answer, BusUnavailable) else answer
                for answer in answers
            ]
        return answers

    def _settled(self, error: BusUnavailable) -> BusUnavailable:
        """The error without a fault that may still be a failover: waiting may help."""
        if error.fault is None or self._probe.lasting(error) is not None:
            return error
        return type(error)(str(error))

    def _fail(self, error: BusUnavailable, publications: Sequence[Publication]) -> None:
        self._metrics.bus_error()
        self._probe.hurry()
        if self._lost:
            return
        self._lost = True
        # The trace of one of the failed requests, as an example to look at.
        traces = (each.trace for each in publications if each.trace is not None)
        with traced_logs(next(traces, None)):
            _log.warning("bus lost", reason=str(error))
