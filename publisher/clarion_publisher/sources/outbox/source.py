"""The outbox as a source: reads committed rows and hands them in, until it is cancelled.

Publishers take turns. One transaction takes a lock that only one can have, reads the oldest rows,
waits until Redis has their events, and deletes them. So there is one reader at any moment, and rows
of one audience keep their order (docs/decisions/0019-outbox.md).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
import structlog

from clarion_contract.redis.backoff import reconnect_delay_seconds
from clarion_publisher.ingestion.ingestion import Ingestion
from clarion_publisher.sources.outbox import fault
from clarion_publisher.sources.outbox.batch import Result, hand_in
from clarion_publisher.sources.outbox.database import Database, Limits, connected
from clarion_publisher.sources.outbox.fault import OutboxFault
from clarion_publisher.sources.outbox.held import Held
from clarion_publisher.sources.outbox.metrics import OutboxMetrics
from clarion_publisher.sources.outbox.rows import Row

_log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 5.0
_PRUNE_SECONDS: Final = 300.0
_TROUBLE: Final = (OutboxFault, psycopg.Error, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Pace:
    """The intervals of the source's work.

    Attributes:
        poll_seconds: between two looks at a table without rows.
        keep_refused_seconds: how long rows that were set aside are kept.
    """

    poll_seconds: float
    keep_refused_seconds: float


class OutboxSource:
    """Takes events from a PostgreSQL outbox. See `clarion_publisher.sources.source.Source`."""

    def __init__(
        self,
        conninfo: str,
        limits: Limits,
        pace: Pace,
        metrics: OutboxMetrics,
        *,
        clustered: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up.

        Args:
            conninfo: of the database, see `database.conninfo_of`.
            clustered: Redis is a cluster, of which one primary may be away alone.
        """
        self._conninfo = conninfo
        self._limits = limits
        self._pace = pace
        self._metrics = metrics
        self._held = Held(clock) if clustered else None
        self._clock = clock
        self._stopping = asyncio.Event()
        self._trouble: Exception | None = None
        self._worked = self._connected = False
        self._redis_waits: str | None = None
        self._look_at = self._prune_at = 0.0
        self._refusals = self._failures = 0

    async def run(self, ingestion: Ingestion) -> None:
        """Hand in rows until cancelled; then end the current batch."""
        working = asyncio.ensure_future(self._run(ingestion))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            self._stopping.set()
            await working
            raise

    def obstacles(self) -> Sequence[str]:
        """A database that cannot work is a reason before it has ever worked: stop the rollout."""
        if self._trouble is None or self._worked or not fault.lasts(self._trouble):
            return ()
        return (self._text(self._trouble),)

    def warnings(self) -> Sequence[str]:
        """Otherwise it is none: the pod can take events over HTTP."""
        if self._trouble is None or self.obstacles():
            return ()
        return (self._text(self._trouble),)

    async def _run(self, ingestion: Ingestion) -> None:
        while not self._stopping.is_set():
            try:
                async with connected(self._conninfo) as database:
                    await self._follow(database, ingestion)
            except _TROUBLE as error:
                self._lost(error)
                await self._pause(reconnect_delay_seconds(self._failures))
                self._failures += 1

    async def _follow(self, database: Database, ingestion: Ingestion) -> None:
        """Hand in batch after batch."""
        while not self._stopping.is_set():
            await self._look(database)
            rows = await self._take(database)
            self._found(database)
            if rows is None:  # another publisher reads
                await self._pause(self._pace.poll_seconds * random.uniform(0.5, 1.5))  # noqa: S311
                continue
            if not rows:
                await database.wait(self._pace.poll_seconds, self._stopping)
                continue
            result = await hand_in(
                rows, database.identity, ingestion, data_max_bytes=self._limits.data_max_bytes
            )
            self._metrics.batch(result.outcomes)
            await database.finish(result.done, result.reasons)
            self._tell(result)
            await self._wait_for_redis(result)

    async def _take(self, database: Database) -> list[Row] | None:
        """The rows of a batch, which has begun if there are any; None: another publisher reads."""
        if not await database.begin():
            await database.abandon()
            return None
        rows = await database.read(self._limits, self._held.audiences if self._held else ())
        if not rows:
            await database.abandon()
        return rows

    def _tell(self, result: Result) -> None:
        """Count and log the rows that have been set aside."""
        for id_, refusal in result.refused.items():
            self._metrics.refused(refusal.kind.name)
            _log.warning("row set aside", row=id_, reason=refusal.detail)

    async def _wait_for_redis(self, result: Result) -> None:
        """After temporary refusals, wait: longer after each batch that published nothing."""
        if not result.waits:
            if self._redis_waits is not None:
                self._redis_waits = None
                _log.info("rows are published again")
            self._refusals = 0
            return
        refusal = result.waits[0][1]
        if self._redis_waits != refusal.kind.name:
            self._redis_waits = refusal.kind.name
            _log.warning("rows wait", reason=refusal.detail)
        self._refusals = 0 if result.done else self._refusals + 1
        if self._held is not None:
            self._held.hold([row.audience for row, _ in result.waits])
        await self._pause(reconnect_delay_seconds(self._refusals))

    async def _look(self, database: Database) -> None:
        """Now and then: measure what waits, and delete what was set aside long ago."""
        now = self._clock()
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
            await database.prune(self._pace.keep_refused_seconds)
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._metrics.backlog(*await database.backlog())

    def _found(self, database: Database) -> None:
        if self._connected:
            return
        self._connected, self._worked = True, True
        self._trouble, self._failures = None, 0
        self._metrics.connected(True)
        _log.info("outbox found", outbox=database.identity, listens=database.listens)

    def _lost(self, error: Exception) -> None:
        self._look_at = 0.0
        self._connected = False
        self._metrics.connected(False)
        self._metrics.error()
        known = self._trouble is not None and fault.reason(self._trouble) == fault.reason(error)
        self._trouble = error
        if not known:
            _log.warning("outbox lost", reason=fault.reason(error))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    @staticmethod
    def _text(error: Exception) -> str:
        return f"outbox: {fault.reason(error)}"
