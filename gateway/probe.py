"""Probes: a pod's events to itself, which show that the bus works from end to end.

Stands beside an event's way: `gateway.subscription` sends the first probe of a connection and tells
of those that it hears. Each one is published as any event is, so that one that comes back proves
publishing, Redis and the subscription at once; and its id says up to where the pod has heard.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

import structlog

from contract.errors import BusUnavailable

_log = structlog.get_logger(__name__)


class ProbingBus(Protocol):
    """What probes need of `contract.bus.Bus`."""

    async def probe(self, pod: str) -> int:
        """See `contract.bus.Bus.probe`."""
        ...


class Prober:
    """Sends a pod's probes and knows which have come back.

    Attributes:
        sent: how many there have been. Redis had a subscription that was confirmed before the next
            one is sent.
    """

    def __init__(
        self,
        bus: ProbingBus,
        pod: str,
        *,
        interval_seconds: float,
        timeout_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.sent = 0
        self._bus = bus
        self._pod = pod
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._heard = 0
        self._arrived = asyncio.Event()
        # The last one that came back: its number and its id.
        self._back = (0, 0)
        self._came_back = asyncio.Event()
        self._wanted = asyncio.Event()
        self._verified_at: float | None = None

    @property
    def verified_age_seconds(self) -> float:
        """Seconds since a probe last came back; infinite before the first one did."""
        return float("inf") if self._verified_at is None else self._clock() - self._verified_at

    async def send(self) -> int:
        """Publish a probe; returns its id.

        Raises:
            BusUnavailable: it may have been published or not.
        """
        self.sent += 1
        return await self._bus.probe(self._pod)

    def begin(self, id_: int) -> None:
        """The pod has caught up with the probe just sent, on a new connection."""
        self._heard = id_
        self._return(id_)

    def hear(self, id_: int) -> None:
        """A probe came in on the subscription."""
        self._heard = id_
        self._arrived.set()

    async def after(self, number: int) -> int:
        """The id of a probe that came back and was sent after as many as ``number`` were.

        One is sent at once where there is none; callers who come meanwhile share the next.
        """
        while self._back[0] <= number:
            self._wanted.set()
            self._came_back.clear()
            await self._came_back.wait()
        return self._back[1]

    async def run(self) -> None:
        """Send one per interval, and one at once where somebody waits.

        Raises:
            BusUnavailable: one stayed away: the subscription is worth nothing.
        """
        while True:
            self._wanted.clear()
            try:
                id_ = await self.send()
            except BusUnavailable as error:
                _log.warning("probe not published", error=str(error))
                await asyncio.sleep(self._interval_seconds)
                continue
            await self._arrival(id_)
            self._verified_at = self._clock()
            self._return(id_)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_seconds):
                    await self._wanted.wait()

    def _return(self, id_: int) -> None:
        self._back = (self.sent, id_)
        self._came_back.set()

    async def _arrival(self, id_: int) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while self._heard < id_:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise BusUnavailable("a probe did not come back on the subscription") from None
