"""Hands messages to the ingestion, and commands to the gateways, in their order.

A message is done when it is published, or refused for good. Until then it is tried again with the
same keys, so that nothing is published twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
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
from clarion_publisher.sources.socketio.message import Content, Disconnect, Emit, Unreadable
from clarion_publisher.sources.socketio.metrics import SocketIoMetrics
from clarion_publisher.sources.socketio.translation import SelectedOrder, Translation

_log = structlog.get_logger(__name__)

_FOREVER: Final = float("inf")
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
        events: list[tuple[Taken, IncomingEvent | Refusal]] = []
        for message in messages:
            self._metrics.received(message.producer)
            content = message.content
            if isinstance(content, Unreadable):
                self._refuse(message, content.reason, str(content))
            elif isinstance(content, Emit):
                made = self._translation.events(content, message.key)
                events.extend((message, event) for event in made)
            else:
                await self._publish(events, ingestion)
                events = []
                await self._command(message, content)
        await self._publish(events, ingestion)

    async def _publish(
        self, events: Sequence[tuple[Taken, IncomingEvent | Refusal]], ingestion: Ingestion
    ) -> None:
        for start in range(0, len(events), self._batch_events):
            waiting = list(events[start : start + self._batch_events])
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

    async def _command(self, message: Taken, command: Content) -> None:
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

    def _order(self, message: Taken, command: Content) -> SelectedOrder:
        assert not isinstance(command, Emit)  # noqa: S101 - the caller has looked
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
