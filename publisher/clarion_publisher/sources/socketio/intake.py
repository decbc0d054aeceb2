"""Hands messages to the ingestion, and commands to the gateways, in their order.

A message is done when it is published, or refused for good. Until then it is tried again with the
same keys, so that nothing is published twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from clarion_contract.bus.orders import Orders
from clarion_contract.events.errors import BusUnavailable, OrdersFull
from clarion_contract.identity.claims import Claims
from clarion_contract.redis.backoff import reconnect_delay_seconds
from clarion_publisher.ingestion.authorise import CHANGE_TOPICS, DISCONNECT_USERS, require
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.ingestion import Ingestion
from clarion_publisher.ingestion.refusal import BUS_REFUSED, Refusal
from clarion_publisher.sources.socketio.message import (
    Command,
    Content,
    Disconnect,
    Emit,
    Unreadable,
)
from clarion_publisher.sources.socketio.metrics import SocketIoMetrics
from clarion_publisher.sources.socketio.translation import SelectedOrder, Translation

_log = structlog.get_logger(__name__)

_FOREVER: Final = float("inf")
# Published together at most. A message for many rooms is an event for each of them.
_BATCH_BYTES: Final = 4 << 20
# Producers that write nonsense all the time must not fill the log.
_SILENT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A message as it was read.

    Attributes:
        producer: one of `message.PRODUCERS`.
        key: of its own, the same each time that it is read.
        at: when it was written, seconds since the epoch.
    """

    producer: str
    key: str
    at: float
    content: Content | Unreadable


_Batch = list[tuple[Taken, IncomingEvent | Refusal]]


class Abandoned(Exception):
    """The publisher ends, and Redis has still not taken everything."""


class Intake:
    """The way of messages to the bus."""

    def __init__(
        self,
        orders: Orders,
        translation: Translation,
        scopes: Sequence[str],
        metrics: SocketIoMetrics,
        stopping: asyncio.Event,
        *,
        batch_events: int,
    ) -> None:
        """Set up.

        Args:
            scopes: that the producers have, all of them together.
            stopping: set when no more attempts should be made.
            batch_events: published together at most.
        """
        self._caller = Claims("socketio", frozenset(scopes), _FOREVER)
        self._orders = orders
        self._translation = translation
        self._metrics = metrics
        self._stopping = stopping
        self._batch_events = batch_events
        self._silent_until = 0.0
        self._not_logged = 0

    async def take(self, messages: Sequence[Taken], ingestion: Ingestion) -> None:
        """Return when each of the messages is done.

        Raises:
            Abandoned: the publisher ends before.
        """
        for step in self._steps(messages):
            if isinstance(step, list):
                await self._publish(step, ingestion)
            else:
                await self._command(*step)

    def _steps(self, messages: Sequence[Taken]) -> Iterator[_Batch | tuple[Taken, Command]]:
        """Batches of events, and commands: each made when the one before is done."""
        batch: _Batch = []
        size = 0
        for message in messages:
            self._metrics.received(message.producer)
            content = message.content
            if isinstance(content, Unreadable):
                self._refuse(message, content.reason, str(content))
                continue
            if not isinstance(content, Emit):
                yield batch
                yield message, content
                batch, size = [], 0
                continue
            for event in self._translation.events(content, message.key):
                own = 0 if isinstance(event, Refusal) else _bytes_of(event)
                if len(batch) == self._batch_events or (batch and size + own > _BATCH_BYTES):
                    yield batch
                    batch, size = [], 0
                batch.append((message, event))
                size += own
        yield batch

    async def _publish(self, waiting: _Batch, ingestion: Ingestion) -> None:
        attempts = 0
        while waiting:
            outcomes = await ingestion.publish(self._caller, [event for _, event in waiting])
            again = []
            for (message, event), outcome in zip(waiting, outcomes, strict=True):
                if not isinstance(outcome, Refusal):
                    continue
                if outcome.kind.retryable or outcome.kind is BUS_REFUSED:
                    again.append((message, event))
                else:
                    self._refuse(message, outcome.kind.name, outcome.detail)
            waiting = again
            if waiting:
                await self._pause(attempts)
                attempts += 1

    async def _command(self, message: Taken, command: Command) -> None:
        try:
            order = self._order(message, command)
        except Refusal as refusal:
            self._refuse(message, refusal.kind.name, refusal.detail)
            return
        attempts = 0
        while True:
            try:
                await self._orders.give([order], replicated=True)
            except (BusUnavailable, OrdersFull):
                await self._pause(attempts)
                attempts += 1
            else:
                return

    def _order(self, message: Taken, command: Command) -> SelectedOrder:
        if isinstance(command, Disconnect):
            require(self._caller, DISCONNECT_USERS, "disconnectSockets")
        else:
            require(self._caller, CHANGE_TOPICS, "socketsJoin and socketsLeave")
        return self._translation.order(command, message.key, message.at)

    def _refuse(self, message: Taken, reason: str, detail: str) -> None:
        self._metrics.refused(message.producer, reason)
        now = time.monotonic()
        if now < self._silent_until:
            self._not_logged += 1
            return
        _log.warning(
            "message refused",
            producer=message.producer,
            key=message.key.lstrip("\0"),
            reason=detail,
            others_not_logged=self._not_logged,
        )
        self._not_logged = 0
        self._silent_until = now + _SILENT_SECONDS

    async def _pause(self, attempts: int) -> None:
        if not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(reconnect_delay_seconds(attempts)):
                    await self._stopping.wait()
        if self._stopping.is_set():
            raise Abandoned


def _bytes_of(event: IncomingEvent) -> int:
    return len(event.data) + len(event.exclude or "")
