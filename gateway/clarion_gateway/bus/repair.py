"""What the pod makes up for, where events have passed it by: read from the logs, in their place.

`clarion_gateway.bus.subscription` hears of it: a gap in a stream, a connection that was lost, a
failover. What can be read is delivered in id order, as if it had come in; of what cannot, clients
are told in the place of the loss.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from operator import attrgetter
from typing import Final

import structlog

from clarion_contract.bus.positions import Loss
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.event import Event
from clarion_gateway.bus import log_reader as catch_up
from clarion_gateway.bus.log_reader import NEWEST, Heard, Missed, ReadingBus
from clarion_gateway.bus.streams import Stream, Streams
from clarion_gateway.delivery.ring import Ring
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings

TellGap = Callable[[Collection[Audience], int], None]

_by_id: Final = attrgetter("id")

_log = structlog.get_logger(__name__)


class Repair:
    """Fills gaps from the logs, or tells clients what was lost."""

    def __init__(
        self,
        bus: ReadingBus,
        streams: Streams,
        delivery: Delivery,
        ring: Ring,
        metrics: Metrics,
        settings: GatewaySettings,
        tell_gap: TellGap,
    ) -> None:
        self._bus = bus
        self._streams = streams
        self._delivery = delivery
        self._ring = ring
        self._metrics = metrics
        self._positions = settings.positions
        self._replay_seconds = settings.history_max_age_seconds
        self._tell_gap = tell_gap
        # Audiences that lost events and have not been told so yet, by the position of the loss.
        self._untold: dict[int, set[Audience]] = {}

    async def catch_up(self, streams: Sequence[Stream], now: int) -> None:
        """A connection begins: make up for everything that went by before it.

        Args:
            streams: that Redis has confirmed on it.
            now: id of a probe of the shared clock; what its streams have above it will come in.
        """
        if self._ring.floor is None:
            await self._fill_ring(now)
        elif now < self._streams.heard:
            await self._begin_anew(now)
        else:
            await self._read_on(streams, now)
        await self.find_ends([stream for stream in streams if stream.apart and not stream.last])

    async def find_ends(self, apart: Sequence[Stream]) -> None:
        """Begin with streams that Redis has confirmed: what was published before is not awaited."""
        for stream, end in (await self._ends(apart)).items():
            # Something may have come in that was published after the look.
            stream.ended(end)

    async def failed_over(self) -> None:
        """Redis does not know a probe that came back: a failover has dropped writes, or the pod has
        listened to a primary that was replaced. What passed by on the new one meanwhile may have
        ids below those that were heard on the old one, and no event's `prev` tells of it.
        """
        # First, so that what is published once clients are told is not taken for older.
        ends = await self._ends(self._streams.apart)
        heard = self._streams.heard
        missed = Missed(
            losses=[Loss(ALL, heard, forgotten=True)],
            base={stream.audience: end for stream, end in ends.items() if stream.audience},
            forgotten={stream.audience for stream in self._streams if stream.audience},
        )
        await self._deliver(missed, heard)

    async def fill_gap(self, stream: Stream, event: Event) -> None:
        """Deliver what the log holds between the last event heard and this one."""
        before = event.id - 1
        heard = [Heard(stream.audience or ALL, stream.last, stream.last, stream.last, before)]
        until = self._streams.heard
        await self._deliver(await catch_up.read(self._bus, heard, until), until)

    async def _read_on(self, streams: Sequence[Stream], now: int) -> None:
        """Deliver everything after the last id heard, on every stream.

        Args:
            now: id of a probe of the shared clock; what its streams have above it will come in.
        """
        shared = self._streams.heard
        heard = []
        for stream in streams:
            if stream.audience is None:
                continue
            if not stream.apart:
                heard.append(Heard(stream.audience, stream.last, shared, shared, now))
            elif stream.last:
                # Of a stream that is quiet the pod only knows that it has heard all, lately.
                since = self._positions.user_since(shared)
                heard.append(Heard(stream.audience, stream.last, since, stream.last, NEWEST))
        await self._deliver(await catch_up.read(self._bus, heard, now), now)

    async def _deliver(self, missed: Missed, until: int) -> None:
        """Take over what was read.

        A loss is told where it lies: after what came before it and before what came after it. A
        client whose connection ends in between would otherwise resume from beyond a loss that
        nobody has told it of.

        Args:
            until: an id of the shared clock up to which its streams will have been heard.
        """
        self._note_losses(missed, until)
        events = deque(missed.events)
        for position in sorted(self._untold):
            self._put_until(events, position)
            # A lost connection may cancel this: what is not put yet will be read again, from here.
            await self._delivery.flushed()
            # Whoever comes from here on begins behind the loss, and the ring does.
            self._delivery.advance(position)
            self._ring.fill(position, [])
            self._tell_gap(self._untold.pop(position), position)
        self._put_until(events, until)
        self._put(events)  # of streams that are apart

    def _note_losses(self, missed: Missed, until: int) -> None:
        if missed.events:
            self._metrics.gaps.labels("repaired").inc()
            _log.info("gap repaired from the log", events=len(missed.events))
        if not missed.losses:
            return
        self._metrics.gaps.labels("lost").inc()
        _log.error("Redis lost events; clients are told", losses=len(missed.losses))
        heard = self._streams.heard
        for loss in missed.losses:
            self._untold.setdefault(self._positions.place(loss, heard), set()).add(loss.audience)
        self._begin_streams_anew(missed)
        forgotten_until = self._positions.forgotten_until(missed.losses, until)
        if forgotten_until:
            self._ring.break_until(max(forgotten_until, heard))

    def _begin_streams_anew(self, missed: Missed) -> None:
        """A loss is told once: nothing that follows has to join what came before it."""
        lost = {loss.audience for loss in missed.losses}
        for audience in lost | missed.forgotten:
            stream = self._streams.by_name.get(audience.stream)
            if stream is not None:
                stream.begin_anew(missed.base.get(audience, 0))
        if ALL in lost:  # it concerns everyone: a lost probe has nothing to add
            for stream in self._streams:
                if stream.audience is None:
                    stream.begin_anew()

    def _put_until(self, events: deque[Event], position: int) -> None:
        """Deliver the events up to a position: then all streams have been heard up to there."""
        later = bisect_right(events, position, key=_by_id)
        self._put([events.popleft() for _ in range(later)])
        self._streams.hear_up_to(position)

    def _put(self, events: Iterable[Event]) -> None:
        for event in events:
            stream = self._streams.by_name.get(event.audience.stream)
            if stream is not None:
                stream.heard(event.id)
            self._delivery.put(event)
            if not self._positions.is_apart(event.audience.stream):
                self._delivery.advance(event.id)

    async def _begin_anew(self, now: int) -> None:
        """Ids went back: another data set, whose clock is behind. Nothing joins what was heard."""
        _log.error("Redis began anew with earlier ids; clients are told")
        self._metrics.gaps.labels("lost").inc()
        ends = await self._ends(self._streams.apart)  # before clients are told, as in `failed_over`
        await self._delivery.flushed()
        self._streams.rewind(now)
        for stream, end in ends.items():
            stream.ended(end)
        self._untold.clear()
        self._delivery.rewind(now)
        self._ring.begin_anew(now)
        self._tell_gap({ALL}, now)

    async def _fill_ring(self, now: int) -> None:
        """Give a fresh pod the recent past, so that clients of other pods can resume here."""
        since = max(0, now - int(self._replay_seconds * 1_000_000))
        histories = await self._bus.history([(ALL, since), (AUTHENTICATED, since)], limit=1)
        floor = max(since, *(history.floor for history in histories))
        heard = [Heard(audience, 0, floor, floor, now) for audience in (ALL, AUTHENTICATED)]
        # All of history may be many times what the ring holds.
        missed = await catch_up.read(self._bus, heard, now, keep_bytes=self._ring.max_bytes)
        if missed.losses:  # trimmed since the floor was read: the next connection will try again
            self._ring.fill(now, [])
        else:
            self._ring.fill(max(floor, missed.floor), missed.events)
        self._streams.hear_up_to(now)

    async def _ends(self, apart: Sequence[Stream]) -> dict[Stream, int]:
        """At which id each of these streams ends; probe streams have no log that is read."""
        logged = [stream for stream in apart if stream.audience]
        ends = await catch_up.ends(
            self._bus, [stream.audience for stream in logged if stream.audience]
        )
        return dict(zip(logged, ends, strict=True))
