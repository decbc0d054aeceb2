"""Proves again and again that this pod can publish, through the real path.

A ping would not: Redis answers it also as a read-only replica, without memory, and for a user whose
ACL lacks channels or scripts.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from clarion_contract.events.errors import BusUnavailable, Fault
from clarion_contract.service.readiness import Health

# The interval while Redis is away: short, since producers wait.
_AWAY_SECONDS: Final = 0.5


class ProbedBus(Protocol):
    """The part of `clarion_contract.bus.bus.Bus` that is needed here."""

    async def probe_streams(self, pod: str) -> list[str]:
        """See `clarion_contract.bus.bus.Bus.probe_streams`."""
        ...

    async def probe_publishing(self, stream: str) -> None:
        """See `clarion_contract.bus.bus.Bus.probe_publishing`."""
        ...


class BusProbe:
    """Publishes probes, and knows why the last one failed.

    Attributes:
        worked: whether a probe has ever worked.
    """

    def __init__(
        self,
        bus: ProbedBus,
        pod: str,
        *,
        interval_seconds: float,
        timeout_seconds: float,
        check: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up.

        Args:
            interval_seconds: between two probes while they work.
            timeout_seconds: how long Redis may take for one.
            check: whether Redis is new enough; asked before each probe until one has worked.
        """
        self.worked = False
        self._bus = bus
        self._pod = pod
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._check = check
        self._clock = clock
        self._failures: list[BusUnavailable] = [BusUnavailable("no answer yet")]
        self._whole = True
        self._failing_since = clock()
        self._hurry = asyncio.Event()

    @property
    def fault(self) -> Fault | None:
        """Why waiting does not help; None: it does, or nothing is wrong."""
        return next(
            (fault for error in self._failures if (fault := self.lasting(error)) is not None), None
        )

    def lasting(self, error: BusUnavailable) -> Fault | None:
        """An error's fault, unless it may still be a failover."""
        fault = error.fault
        if fault is None or not fault.patience_seconds or not self.worked:
            return fault
        known = any(each.fault is fault for each in self._failures)
        lasts = known and self._clock() - self._failing_since >= fault.patience_seconds
        return fault if lasts else None

    def hurry(self) -> None:
        """Probe at once: a publish has failed, or works again."""
        self._hurry.set()

    def health(self) -> Health:
        """The publisher's ability to publish, by the last probe."""
        if not self._failures:
            return Health()
        texts = tuple(dict.fromkeys(self._text(error) for error in self._failures))
        # Where one primary of a cluster is away, the others still take events.
        return Health(texts) if self._whole or self.fault else Health((), texts)

    async def run(self) -> None:
        """Probe for ever."""
        while True:
            self._hurry.clear()
            await self._probe()
            interval = self._interval_seconds
            if self._failures:
                interval = min(interval, _AWAY_SECONDS)
            with contextlib.suppress(TimeoutError):
                # Not all pods at the same moment.
                async with asyncio.timeout(interval * random.uniform(0.8, 1.2)):  # noqa: S311
                    await self._hurry.wait()
                await asyncio.sleep(min(interval, _AWAY_SECONDS) / 2)  # a burst is one cause

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if not self.worked:
                    await self._check()
                streams = await self._bus.probe_streams(self._pod)
        except BusUnavailable as error:
            failures, streams = [error], [""]
        except TimeoutError:
            failures, streams = [self._late()], [""]
        else:
            answers = await asyncio.gather(*map(self._published, streams))
            failures = [answer for answer in answers if answer is not None]
        if failures and not self._failures:
            self._failing_since = self._clock()
        self._failures, self._whole = failures, len(failures) == len(streams)
        self.worked = self.worked or not failures

    async def _published(self, stream: str) -> BusUnavailable | None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._bus.probe_publishing(stream)
        except BusUnavailable as error:
            return error
        except TimeoutError:
            return self._late()
        return None

    def _late(self) -> BusUnavailable:
        return BusUnavailable(f"no answer within {self._timeout_seconds:g} s")

    def _text(self, error: BusUnavailable) -> str:
        fault = self.lasting(error)
        why = f"{fault.advice} ({error})" if fault is not None else str(error)
        return f"redis: {why}" if self.worked else f"redis was never reached: {why}"
