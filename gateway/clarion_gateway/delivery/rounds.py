"""Delivers in rounds: all events that have come in leave in one write per socket.

It stands between `clarion_gateway.bus.subscription` (order, gaps) and the sockets. One task serves
the whole pod, and yields to the event loop every few hundred sockets. It needs no timer: at low
load a round has one event and leaves at once; at high load rounds grow, and the cost per delivery
falls.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final

import structlog

from clarion_contract.bus.positions import ONE_CLOCK, Positions
from clarion_contract.events.event import Event
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.outbound import Outbound
from clarion_gateway.delivery import fanout
from clarion_gateway.delivery.ring import Ring
from clarion_gateway.delivery.topic_rings import TopicRings
from clarion_gateway.delivery.tracing import FanoutTracer
from clarion_gateway.metrics.registry import Metrics

_log = structlog.get_logger(__name__)

# The name of this job at the supervisor: its metric counts the failures of rounds too.
_JOB: Final = "delivery"
# Writes to so many sockets take about 2 ms: other tasks of the event loop wait no longer.
_SOCKETS_PER_SLICE: Final = 256
# The most bytes of one write: large enough that the system call costs little per byte.
_ROUND_MAX_BYTES: Final = 128 * 1024
_ROUND_MAX_EVENTS: Final = 1_000
# The recipients of a targeted event get all shared events merged in, at about 1 µs for each.
_ROUND_MAX_MERGES: Final = 10_000


class Delivery:
    """The pod's pending events and its position.

    Attributes:
        position: an id of the shared clock. Everything up to it was handed to the sockets, and a
            client that connects now begins there.

    Args:
        pending_max_events: see `room`.
        held_max_events: the most events that wait for a client that catches up.
        held_max_bytes: the most memory of these.
        unsent_max_bytes: the most bytes that may wait for a live client.
    """

    def __init__(  # noqa: PLR0913 - what a round meets, and bounds; joined in app.py
        self,
        hub: Hub,
        ring: Ring,
        metrics: Metrics,
        tracer: FanoutTracer,
        *,
        pending_max_events: int,
        pending_max_bytes: int = 64 << 20,
        held_max_events: int,
        held_max_bytes: int = 8 << 20,
        unsent_max_bytes: int,
        positions: Positions = ONE_CLOCK,
        topic_rings: TopicRings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.position = 0
        self._topic_rings = topic_rings
        self._hub = hub
        self._ring = ring
        self._metrics = metrics
        self._tracer = tracer
        self._pending: deque[Event] = deque()
        self._pending_max_events = pending_max_events
        self._pending_max_bytes = pending_max_bytes
        self._pending_bytes = 0
        self._held_max_events = held_max_events
        self._held_max_bytes = held_max_bytes
        # One round must not make a client a slow consumer if the client reads all that it gets.
        self._round_max_bytes = min(_ROUND_MAX_BYTES, unsent_max_bytes // 2)
        self._seen = 0
        self._rounded = 0
        self._positions = positions
        self._clock = clock
        self._arrived = asyncio.Event()
        self._emptied = asyncio.Event()
        self._advanced = asyncio.Event()
        self._between_rounds = asyncio.Lock()

    @property
    def pending(self) -> int:
        """The number of events that wait for a round."""
        return len(self._pending)

    def put(self, event: Event) -> None:
        """Deliver an event in the next round. Events of one clock must come in id order.

        For an event of the shared clock, also call `advance` with its id, without an await between.
        """
        self._pending.append(event)
        self._pending_bytes += len(event.data)
        self._arrived.set()

    def advance(self, position: int) -> None:
        """Note that everything up to ``position`` has been put. No event need have that id."""
        self._seen = max(self._seen, position)
        if not self._pending:
            self._move_to(self._seen)

    def forget_topics(self, streams: Collection[str] | None = None) -> None:
        """Drop the recent events of topics.

        Args:
            streams: those that the pod gives up; None: all, since events were lost.
        """
        if self._topic_rings is None:
            return
        if streams is None:
            self._topic_rings.clear()
        else:
            self._topic_rings.forget(streams)

    def rewind(self, position: int) -> None:
        """Begin anew at an earlier position, since ids went back."""
        self.position = self._seen = position

    async def room(self) -> None:
        """Return when fewer than ``pending_max_events`` and ``pending_max_bytes`` wait.

        The subscription waits here before it reads on: a pod that falls behind stops reading Redis.
        """
        while (
            len(self._pending) >= self._pending_max_events
            or self._pending_bytes >= self._pending_max_bytes
        ):
            self._emptied.clear()
            await self._emptied.wait()

    async def reached(self, position: int) -> None:
        """Return when the pod's position is at or past ``position``."""
        while self.position < position:
            self._advanced.clear()
            await self._advanced.wait()

    async def flushed(self) -> None:
        """Return when everything that was put before has been handed to the sockets."""
        put = self._rounded + len(self._pending)
        while self._rounded < put:
            self._advanced.clear()
            await self._advanced.wait()
        async with self._between_rounds:
            pass

    def between_rounds(self) -> asyncio.Lock:
        """The lock that a round holds. While you hold it, no round is half written."""
        return self._between_rounds

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            await self._arrived.wait()
            async with self._between_rounds:
                await self._round(self._take())
            await asyncio.sleep(0)

    def _take(self) -> list[Event]:
        events: list[Event] = []
        size_bytes = 0
        targeted = 0
        while (
            self._pending and size_bytes < self._round_max_bytes and len(events) < _ROUND_MAX_EVENTS
        ):
            if targeted * (len(events) - targeted) > _ROUND_MAX_MERGES:
                break
            event = self._pending.popleft()
            targeted += event.audience.named
            size_bytes += len(event.data)
            events.append(event)
        self._pending_bytes -= size_bytes
        if not self._pending:
            self._arrived.clear()
        self._emptied.set()
        return events

    async def _round(self, events: list[Event]) -> None:
        started = time.perf_counter()
        # A client that connects from here on gets these events from the ring, not from this round.
        for event in events:
            self._ring.append(event)
        if self._topic_rings:  # there is one
            for event in events:
                if event.audience.shown and event.history:
                    self._topic_rings.append(event)
        self._rounded += len(events)
        self._move_to(self._positions.last_shared(events) if self._pending else self._seen)
        fanout.hold(events, self._hub, self._held_max_events, self._held_max_bytes)
        traced = self._tracer.begin(events, self._hub)
        try:
            plan = fanout.plan(events, self._hub)
        except Exception as error:  # noqa: BLE001 - one event's bug must not cost the others
            self._metrics.job_failures.labels(_JOB).inc()
            _log.error("round not planned; its events are written one by one", exc_info=error)
            plan = await self._one_by_one(events)
        else:
            await write(plan.batches, self._hub.outbound)
        if traced:
            await asyncio.sleep(0)  # transports write at the end of this pass of the event loop
            self._tracer.end(traced, self._hub)
        self._metrics.round_delivered(
            events,
            plan.deliveries,
            recipients=plan.recipients,
            size_bytes=plan.size_bytes,
            now=self._clock(),
            seconds=time.perf_counter() - started,
        )

    async def _one_by_one(self, events: Sequence[Event]) -> fanout.Plan:
        """Write the events of a round that could not be planned as a whole; returns the writes.

        If an event cannot be written at all, its recipients get a ``gap`` in its place.
        """
        written = fanout.Plan()
        for event in events:
            try:
                plan = fanout.plan([event], self._hub)
            except Exception as error:  # noqa: BLE001 - clients are told
                _log.error("event not delivered; clients are told", id=event.id, exc_info=error)
                self._metrics.gaps.labels("lost").inc()
                for connection in list(self._hub.connections):
                    if connection.held is None and connection.receives(event):
                        connection.write(connection.format.gap(event.id))
            else:
                await write(plan.batches, self._hub.outbound)
                written.batches += plan.batches
                written.deliveries += plan.deliveries
        return written

    def _move_to(self, position: int) -> None:
        self.position = max(self.position, position)
        self._advanced.set()


async def write(batches: Sequence[tuple[bytes, Sequence[Connection]]], outbound: Outbound) -> None:
    """Write buffers to connections, and yield to the event loop every few hundred sockets."""
    written = 0
    before: bytes | None = None
    for payload, connections in batches:
        # Members of a named stream get batches of their own, of the same bytes.
        is_shared = len(connections) > 1 or payload is before
        before = payload
        for start in range(0, len(connections), _SOCKETS_PER_SLICE):
            outbound.shared = payload if is_shared else None
            for connection in connections[start : start + _SOCKETS_PER_SLICE]:
                try:  # costs nothing unless something is raised
                    connection.write(payload)
                except Exception:  # noqa: BLE001 - one socket's bug costs no other
                    _write_failed(connection)
            outbound.shared = None
            written += len(connections) - start
            if written >= _SOCKETS_PER_SLICE:
                written = 0
                await asyncio.sleep(0)


def _write_failed(connection: Connection) -> None:
    """Close a connection to which a write has raised: the client comes back, and resumes."""
    _log.exception("write failed; the connection is closed", connection=connection.id)
    connection.close(close_codes.INTERNAL_ERROR)
