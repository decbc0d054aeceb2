"""Repairs what the pod missed: reads events from the logs and delivers them in their place.

`clarion_gateway.bus.subscription` calls it after a gap in a stream, a lost connection, or a
failover. Events that can be read are delivered in id order, as if they had come in. For events that
are lost, clients are told at the place of the loss.
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
from clarion_gateway.bus.log_reader import NEWEST, Heard, Missed
from clarion_gateway.bus.streams import Stream, Streams
from clarion_gateway.delivery.logs import HistoryBus
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
        bus: HistoryBus,
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
        self._max_bytes = settings.pending_bytes
        # Audiences that lost events and have not been told yet, by the position of the loss.
        self._untold: dict[int, set[Audience]] = {}

    async def catch_up(self, streams: Sequence[Stream], now: int) -> None:
        """Deliver everything that the pod missed before a new connection.

        Args:
            streams: the streams that Redis has confirmed on it.
            now: id of a probe on the shared clock. Events of that clock with higher ids will come
                in by subscription.
        """
        if self._ring.floor is None:
            await self._fill_ring(now)
        elif now < self._streams.heard:
            await self._begin_anew(now)
        else:
            await self._read_on(streams, now)
        await self.find_ends([stream for stream in streams if stream.apart and not stream.last])

    async def find_ends(self, apart: Sequence[Stream]) -> None:
        """Let streams that Redis has just confirmed begin at their end: older events do not count.

        Args:
            apart: streams with ids of their own clocks.
        """
        for stream, end in (await self._ends(apart)).items():
            # An event may have come in that was published after this read.
            stream.ended(end)

    async def failed_over(self) -> None:
        """Tell everyone of a loss: Redis does not know a probe that came back.

        Either a failover has dropped writes, or the pod has listened to a primary that was
        replaced. The new primary may have published events that the pod did not hear, with ids
        below those that it heard from the old one. No event's `prev` shows that.
        """
        # Read the ends first: else events published after clients are told would count as older.
        ends = await self._ends(self._streams.apart)
        heard = self._streams.heard
        # A log that goes on after what was heard has events that are still to come in.
        base = {
            stream.audience: min(end, stream.last) if stream.last else end
            for stream, end in ends.items()
            if stream.audience
        }
        missed = Missed(
            losses=[Loss(ALL, heard, forgotten=True)],
            base=base,
            forgotten={stream.audience for stream in self._streams if stream.audience},
        )
        await self._deliver(missed, heard)

    async def fill_gap(self, stream: Stream, event: Event) -> None:
        """Deliver the events that the log holds between the last event heard and this one."""
        before = event.id - 1
        heard = [_heard(stream, since=stream.last, after=stream.last, until=before)]
        until = self._streams.heard
        await self._deliver(await self._read(heard, until), until)

    async def _read_on(self, streams: Sequence[Stream], now: int) -> None:
        """Deliver everything after the last id heard, on every stream.

        Args:
            now: id of a probe on the shared clock. Events of that clock with higher ids will come
                in by subscription.
        """
        shared = self._streams.heard
        heard = []
        for stream in streams:
            if stream.audience is None:
                continue
            if not stream.apart:
                heard.append(_heard(stream, since=shared, after=shared, until=now))
            elif stream.last:
                # The last event of a quiet stream may be old, but the pod has heard the stream
                # until recently. So a log that reaches back to that time is enough.
                since = self._positions.user_since(shared)
                heard.append(_heard(stream, since=since, after=stream.last, until=NEWEST))
        await self._deliver(await self._read(heard, now), now)

    async def _read(self, heard: Sequence[Heard], until: int) -> Missed:
        """Read missed events, as many as the pod has memory for; the rest counts as lost.

        The oldest events are left out. Clients that come back may still find them in Redis.
        """
        missed = await catch_up.read(self._bus, heard, until, keep_bytes=self._max_bytes)
        if missed.dropped:
            missed.losses += [Loss(audience, last) for audience, last in missed.dropped.items()]
            _log.error(
                "more was missed than the pod has memory for; clients are told",
                max_bytes=self._max_bytes,
            )
        return missed

    async def _deliver(self, missed: Missed, until: int) -> None:
        """Deliver the events that were read, and tell clients of the losses.

        A loss is told in its place: after the earlier events and before the later ones. Otherwise
        a client whose connection ends in between would resume from beyond the loss, and would
        never be told of it.

        Args:
            until: an id of the shared clock. Afterwards its streams count as heard up to there.
        """
        self._note_losses(missed, until)
        events = deque(missed.events)
        for position in sorted(self._untold):
            self._put_until(events, position)
            # A lost connection may cancel this. Events not delivered yet will then be read again.
            await self._delivery.flushed()
            # New clients begin behind the loss from here on, and so does the ring.
            self._delivery.advance(position)
            self._ring.fill(position, [])
            self._tell_gap(self._untold.pop(position), position)
        self._put_until(events, until)
        self._put(events)  # the rest is of streams with other clocks

    def _note_losses(self, missed: Missed, until: int) -> None:
        if missed.events:
            self._metrics.gaps.labels("repaired").inc()
            _log.info("gap repaired from the log", events=len(missed.events))
        if not missed.losses:
            return
        self._metrics.gaps.labels("lost").inc()
        _log.error("Redis lost events; clients are told", losses=len(missed.losses))
        self._delivery.forget_topics()
        heard = self._streams.heard
        for loss in missed.losses:
            self._untold.setdefault(self._positions.place(loss, heard), set()).add(loss.audience)
        self._begin_streams_anew(missed)
        forgotten_until = self._positions.forgotten_until(missed.losses, until)
        if forgotten_until:
            self._ring.break_until(max(forgotten_until, heard))

    def _begin_streams_anew(self, missed: Missed) -> None:
        """Let the streams with a loss begin anew, so that their next event is not a gap again."""
        lost = {loss.audience for loss in missed.losses}
        for audience in lost | missed.forgotten:
            stream = self._streams.by_name.get(audience.stream)
            if stream is not None:
                stream.begin_anew(missed.base.get(audience, 0))
        if ALL in lost:  # everyone was told: a probe that was lost too adds nothing
            for stream in self._streams:
                if stream.audience is None:
                    stream.begin_anew()

    def _put_until(self, events: deque[Event], position: int) -> None:
        """Deliver the events up to a position, and note that all streams are heard up to there."""
        later = bisect_right(events, position, key=_by_id)
        self._put([events.popleft() for _ in range(later)])
        self._streams.hear_up_to(position)

    def _put(self, events: Iterable[Event]) -> None:
        for event in events:
            stream = self._streams.by_name.get(event.audience.stream)
            if stream is not None:
                stream.heard(event)
            self._delivery.put(event)
            if not self._positions.is_apart(event.audience.stream):
                self._delivery.advance(event.id)

    async def _begin_anew(self, now: int) -> None:
        """Begin anew: ids went back, so Redis has another data set, whose clock is behind."""
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
        self._delivery.forget_topics()
        self._tell_gap({ALL}, now)

    async def _fill_ring(self, now: int) -> None:
        """Give a fresh pod the recent past, so that clients of other pods can resume here."""
        since = max(0, now - int(self._replay_seconds * 1_000_000))
        histories = await self._bus.history([(ALL, since), (AUTHENTICATED, since)], limit=1)
        floor = max(since, *(history.floor for history in histories))
        heard = [Heard(audience, 0, 0, floor, floor, now) for audience in (ALL, AUTHENTICATED)]
        # History may be much larger than the ring.
        missed = await catch_up.read(self._bus, heard, now, keep_bytes=self._ring.max_bytes)
        if missed.losses:  # a log was trimmed since the floor was read; the ring stays empty
            self._ring.fill(now, [])
        else:
            self._ring.fill(max(floor, missed.floor), missed.events)
        self._streams.hear_up_to(now)

    async def _ends(self, apart: Sequence[Stream]) -> dict[Stream, int]:
        """The id at which each of these streams ends, without probe streams, which have no log."""
        logged = [stream for stream in apart if stream.audience]
        ends = await catch_up.ends(
            self._bus, [stream.audience for stream in logged if stream.audience]
        )
        return dict(zip(logged, ends, strict=True))


def _heard(stream: Stream, *, since: int, after: int, until: int) -> Heard:
    return Heard(stream.audience or ALL, stream.last, stream.logged, since, after, until)
