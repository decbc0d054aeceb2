"""Probes: a pod's events to itself, which show that the bus works from end to end.

`clarion_gateway.bus.subscription` sends the first probe of a connection and reports those that come
in. A probe is published like any event. So a probe that comes back proves that publishing, Redis
and the subscription work, and its id shows up to where the pod has heard. In a cluster a probe is
one event through each primary; it has come back once all of them have.
"""

from __future__ import annotations

import asyncio
import contextlib
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from clarion_contract.events.errors import BusUnavailable

# Between the starts of two probes. Without it, each probe in a storm of handshakes is wanted the
# moment the one before is back, and they take a tenth of the pod's CPU time. The first handshake on
# a quiet pod does not wait.
GAP_SECONDS: Final = 0.005

STAYED_AWAY: Final = "a probe did not come back on the subscription"

_log = structlog.get_logger(__name__)


class ProbingBus(Protocol):
    """The part of `clarion_contract.bus.bus.Bus` that probes use."""

    async def probe(self, streams: Sequence[str]) -> list[int]:
        """See `clarion_contract.bus.bus.Bus.probe`."""
        ...

    def believe(self, heard: Mapping[str, int]) -> None:
        """See `clarion_contract.bus.bus.Bus.believe`."""
        ...


class Clocks(Protocol):
    """The part of `clarion_contract.bus.clocks.BucketClocks` that is used in a cluster."""

    async def begin(self) -> None:
        """See `clarion_contract.bus.clocks.BucketClocks.begin`."""
        ...

    async def level(self, streams: Sequence[str], shared_id: int) -> None:
        """See `clarion_contract.bus.clocks.BucketClocks.level`."""
        ...


class Prober:
    """Sends a pod's probes and knows which have come back.

    Attributes:
        sent: the number of probes so far. A subscription that Redis confirmed before the next
            probe is sent gets every event with a higher id than that probe's.
        trouble: what has kept probes from coming back since the last one did; None: nothing.
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
        self.trouble: BusUnavailable | None = None
        self._bus = bus
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._clocks = clocks
        self._clock = clock
        # The newest id that came in, by stream; the shared clock's stream comes first.
        self._heard: dict[str, int] = {}
        self._arrived = asyncio.Event()
        # Number and id of the last probe that came back.
        self._back = (0, 0)
        self._came_back = asyncio.Event()
        self._wanted = asyncio.Event()
        self._verified_at: float | None = None

    @property
    def verified_age_seconds(self) -> float:
        """Seconds since a probe last came back; infinite before the first one did."""
        return float("inf") if self._verified_at is None else self._clock() - self._verified_at

    async def begin(self, streams: Sequence[str]) -> dict[str, int]:
        """Send the first probe of a new connection; returns its id by stream.

        Args:
            streams: the probe streams, one event on each. The first one's id is the probe's.

        Raises:
            BusUnavailable: the probe may have been published or not.
        """
        self._heard = dict.fromkeys(streams, 0)
        return dict(zip(streams, await self._send(), strict=True))

    def caught_up(self, id_: int) -> None:
        """Count the first probe as come back, since the pod has read everything up to it."""
        self._return(id_)

    def hear(self, stream: str, id_: int) -> None:
        """Note a probe that came in on the subscription."""
        self._heard[stream] = id_
        self._arrived.set()

    async def after(self, number: int) -> int:
        """Return the id of a probe that came back and was sent after the first ``number`` probes.

        If there is none yet, the next one is sent at once, or 5 ms after the last one. Callers that
        come meanwhile share it.
        """
        while self._back[0] <= number:
            self._wanted.set()
            self._came_back.clear()
            await self._came_back.wait()
        return self._back[1]

    async def run(self) -> None:
        """Send a probe per interval, and one soon when a caller of `after` waits.

        Raises:
            BusUnavailable: a probe did not come back, so the subscription cannot be trusted.
        """
        several = len(self._heard) > 1
        loop = asyncio.get_running_loop()
        while True:
            self._wanted.clear()
            next_at = loop.time() + GAP_SECONDS
            id_ = await (self._all_round_trips() if several else self._round_trip())
            self._verified_at = self._clock()
            self.trouble = None
            self._return(id_)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_seconds):
                    await self._wanted.wait()
            if (early := next_at - loop.time()) > 0:
                await asyncio.sleep(early)

    def _return(self, id_: int) -> None:
        self._back = (self.sent, id_)
        self._came_back.set()

    async def _send(self) -> list[int]:
        self.sent += 1
        return await self._bus.probe(list(self._heard))

    async def _all_round_trips(self) -> int:
        """Send a probe through every primary of a cluster; return its id once it is back.

        The time limit includes publishing: what one connection lags behind another must stay
        within the error of positions (`GatewaySettings.positions`).
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                ids = await self._send()
                await self._arrival(ids)
                if self._clocks is not None:
                    await self._clocks.level(list(self._heard), ids[0])
        except TimeoutError:
            raise BusUnavailable(STAYED_AWAY) from None
        return ids[0]

    async def _round_trip(self) -> int:
        """Send a probe to the only server; return its id once it is back."""
        deadline = self._clock() + self._timeout_seconds
        ids = await self._published()
        try:
            # After a long wait for Redis, the subscription has half the time of its own.
            async with asyncio.timeout(max(deadline - self._clock(), self._timeout_seconds / 2)):
                await self._arrival(ids)
        except TimeoutError:
            raise BusUnavailable(STAYED_AWAY) from None
        return ids[0]

    async def _published(self) -> list[int]:
        """Send a probe until Redis takes it. Meanwhile the subscription may still deliver.

        When all connections have gone silent at once, the first attempt must leave time for a
        second one, on a new connection, and for the probe to come back.
        """
        limit_seconds = self._timeout_seconds / 2
        while True:
            try:
                async with asyncio.timeout(limit_seconds):
                    return await self._send()
            except TimeoutError:
                self._note(BusUnavailable("Redis did not answer in time"))
            except BusUnavailable as error:
                self._note(error)
                await asyncio.sleep(self._interval_seconds)
            limit_seconds = self._timeout_seconds

    def _note(self, error: BusUnavailable) -> None:
        self.trouble = error
        _log.warning("probe not published", error=str(error))

    async def _arrival(self, ids: Sequence[int]) -> None:
        while any(map(operator.lt, self._heard.values(), ids)):
            self._arrived.clear()
            await self._arrived.wait()
        self._bus.believe(dict(zip(self._heard, ids, strict=True)))
