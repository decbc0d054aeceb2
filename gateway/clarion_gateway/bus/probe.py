"""Probes: a pod's events to itself, which show that the bus works from end to end.

Stands beside an event's way: `clarion_gateway.bus.subscription` sends the first probe of a
connection and tells of those that it hears. Each one is published as any event is, so that one that
comes back proves publishing, Redis and the subscription at once; and its id says up to where the
pod has heard. In a cluster a probe is one event through each primary, and back when all of them
are.
"""

from __future__ import annotations

import asyncio
import contextlib
import operator
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from clarion_contract.events.errors import BusUnavailable

_STAYED_AWAY: Final = "a probe did not come back on the subscription"

_log = structlog.get_logger(__name__)


class ProbingBus(Protocol):
    """What probes need of `clarion_contract.bus.bus.Bus`."""

    async def probe(self, streams: Sequence[str]) -> list[int]:
        """See `clarion_contract.bus.bus.Bus.probe`."""
        ...


class Clocks(Protocol):
    """What is needed of `clarion_contract.bus.clocks.BucketClocks`, in a cluster."""

    async def begin(self) -> None:
        """See `clarion_contract.bus.clocks.BucketClocks.begin`."""
        ...

    async def level(self, streams: Sequence[str], shared_id: int) -> None:
        """See `clarion_contract.bus.clocks.BucketClocks.level`."""
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
        *,
        interval_seconds: float,
        timeout_seconds: float,
        clocks: Clocks | None,
        clock: Callable[[], float],
    ) -> None:
        self.sent = 0
        self._bus = bus
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._clocks = clocks
        self._clock = clock
        # By stream, the shared clock's first: the newest id that came in.
        self._heard: dict[str, int] = {}
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

    async def begin(self, streams: Sequence[str]) -> int:
        """Send the first probe on a new connection, through all of it; returns its id.

        Args:
            streams: the first one's id is the probe's.

        Raises:
            BusUnavailable: it may have been published or not.
        """
        self._heard = dict.fromkeys(streams, 0)
        ids = await self._send()
        return ids[0]

    def caught_up(self, id_: int) -> None:
        """The pod has read everything up to the first probe: as good as if it had come back."""
        self._return(id_)

    def hear(self, stream: str, id_: int) -> None:
        """A probe came in on the subscription."""
        self._heard[stream] = id_
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
        several = len(self._heard) > 1
        while True:
            self._wanted.clear()
            try:
                # Several connections must not get further apart than a position may be wrong by
                # (`GatewaySettings.positions`): then publishing counts too.
                async with asyncio.timeout(self._timeout_seconds if several else None):
                    id_ = await self._round_trip(may_fail=not several)
            except TimeoutError:
                raise BusUnavailable(_STAYED_AWAY) from None
            if id_ is None:
                await asyncio.sleep(self._interval_seconds)
                continue
            self._verified_at = self._clock()
            self._return(id_)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_seconds):
                    await self._wanted.wait()

    def _return(self, id_: int) -> None:
        self._back = (self.sent, id_)
        self._came_back.set()

    async def _send(self) -> list[int]:
        self.sent += 1
        return await self._bus.probe(list(self._heard))

    async def _round_trip(self, *, may_fail: bool) -> int | None:
        """The id of a probe that came back; None: it was not published, which may be."""
        try:
            ids = await self._send()
        except BusUnavailable as error:
            if not may_fail:
                raise
            _log.warning("probe not published", error=str(error))
            return None
        await self._arrival(ids)
        if self._clocks is not None:
            await self._clocks.level(list(self._heard), ids[0])
        return ids[0]

    async def _arrival(self, ids: Sequence[int]) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while any(map(operator.lt, self._heard.values(), ids)):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise BusUnavailable(_STAYED_AWAY) from None
