"""Producers of Socket.IO as a source: takes what they write into Redis, until it is cancelled.

Publishers take turns by a lease in the producers' Redis. Its holder reads the stream and hears the
channels. The position in the stream stands beside the lease, and the id of an entry is the key of
its events. So an entry is published once, also where a reader dies or stands still.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import structlog

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.backoff import reconnect_delay_seconds
from clarion_publisher.ingestion.ingestion import Ingestion
from clarion_publisher.sources.socketio.channels import Channels
from clarion_publisher.sources.socketio.intake import Abandoned, Intake
from clarion_publisher.sources.socketio.message import STREAM
from clarion_publisher.sources.socketio.metrics import SocketIoMetrics
from clarion_publisher.sources.socketio.racing import until_one_ends
from clarion_publisher.sources.socketio.stream import LEASE_SECONDS, Lease, Redis

_log = structlog.get_logger(__name__)

# Another publisher notices so soon that the reader has resigned.
_STAND_BY_SECONDS: Final = 0.5


class SocketIoSource:
    """Takes events of Socket.IO's producers. See `clarion_publisher.sources.source.Source`."""

    def __init__(
        self,
        redis: Redis,
        lease: Lease,
        channels: Channels | None,
        intake: Intake,
        metrics: SocketIoMetrics,
        stopping: asyncio.Event,
        *,
        poll_seconds: float | None,
    ) -> None:
        """Set up.

        Args:
            channels: None: none is heard.
            stopping: shared with the intake; this source sets it.
            poll_seconds: between two looks at a stream without entries; None: there is no stream.
        """
        self._redis = redis
        self._lease = lease
        self._channels = channels
        self._intake = intake
        self._metrics = metrics
        self._stopping = stopping
        self._poll_seconds = poll_seconds
        self._trouble: BusUnavailable | None = None
        self._worked = False
        self._failures = 0

    async def run(self, ingestion: Ingestion) -> None:
        """Hand in messages until cancelled; then end the current ones."""
        working = asyncio.ensure_future(self._run(ingestion))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            self._stopping.set()
            await working
            raise

    def obstacles(self) -> Sequence[str]:
        """A fault that stays is a reason before anything has worked: stop the rollout."""
        if self._worked or self._trouble is None or self._trouble.fault is None:
            return ()
        return (self._text(self._trouble),)

    def warnings(self) -> Sequence[str]:
        """Otherwise it is none: the pod can take events over HTTP."""
        if self._trouble is None or self.obstacles():
            return ()
        return (self._text(self._trouble),)

    async def _run(self, ingestion: Ingestion) -> None:
        try:
            async with asyncio.TaskGroup() as jobs:
                jobs.create_task(self._hand_in(ingestion))
                jobs.create_task(self._read_on(ingestion))
            with contextlib.suppress(BusUnavailable):
                await self._lease.resign()
        finally:
            await self._redis.aclose()

    async def _read_on(self, ingestion: Ingestion) -> None:
        """Read whenever this publisher is the reader, until it ends."""
        while not self._stopping.is_set():
            try:
                await self._read(ingestion)
            except BusUnavailable as error:
                self._lost(error)
                await self._pause(reconnect_delay_seconds(self._failures))
                self._failures += 1
        if self._channels is not None:
            await self._channels.close()

    async def _read(self, ingestion: Ingestion) -> None:
        """Read if this publisher is the reader; wait a moment if it is not.

        Raises:
            BusUnavailable: Redis is lost.
        """
        reads = await self._lease.keep()
        self._found()
        if not reads:
            await self._pause(_STAND_BY_SECONDS)
            return
        self._metrics.reading(True)
        _log.info("reads what Socket.IO's producers write")
        try:
            await until_one_ends(self._keep(), self._follow(ingestion), self._hear())
        finally:
            self._metrics.reading(False)

    async def _keep(self) -> None:
        """Keep the lease while the jobs beside wait, such as for Clarion's own Redis."""
        while True:
            if not await self._lease.keep():
                return
            await asyncio.sleep(LEASE_SECONDS / 4)

    async def _follow(self, ingestion: Ingestion) -> None:
        """Hand in the entries of the stream, until the publisher ends."""
        if self._poll_seconds is None:
            await self._stopping.wait()
            return
        while not self._stopping.is_set():
            look = await self._lease.look()
            if look is None:
                return
            self._metrics.lag(look.lag_seconds)
            if look.lost:
                self._metrics.lost(STREAM, look.lost)
                _log.warning("entries were trimmed before they were read", entries=look.lost)
            try:
                await self._intake.take(look.messages, ingestion)
            except Abandoned:
                return
            self._lease.done(look)
            if not look.entries:
                await self._pause(self._poll_seconds)

    async def _hear(self) -> None:
        """Hear the channels as long as this publisher is the reader."""
        if self._channels is None:
            await self._stopping.wait()
            return
        failures = 0
        while self._lease.held:
            try:
                await self._channels.listen()
            except BusUnavailable as error:
                self._metrics.error()
                _log.warning("channels of Socket.IO's producers lost", reason=str(error))
                if self._channels.worked:
                    failures = 0
                await self._pause(reconnect_delay_seconds(failures))
                failures += 1

    async def _hand_in(self, ingestion: Ingestion) -> None:
        """Hand in the messages of the channels, until they are closed."""
        channels = self._channels
        while channels is not None and (messages := await channels.next()):
            try:
                await self._intake.take(messages, ingestion)
            except Abandoned:
                for message in await channels.next():
                    self._metrics.lost(message.producer, 1)
                return
            await channels.taken(len(messages))

    def _found(self) -> None:
        self._worked = True
        if self._trouble is not None:
            _log.info("Redis of Socket.IO's producers found again")
        self._trouble, self._failures = None, 0

    def _lost(self, error: BusUnavailable) -> None:
        self._metrics.error()
        if self._trouble is None or str(self._trouble) != str(error):
            _log.warning("Redis of Socket.IO's producers lost", reason=str(error))
        self._trouble = error

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    @staticmethod
    def _text(error: BusUnavailable) -> str:
        why = error.fault.advice if error.fault is not None else str(error)
        return f"socketio: {why}"
