"""What the pod hears of the bus: every event once, in order, with gaps repaired from the logs.

Stands between `contract.subscriber` (bytes of one connection) and `gateway.delivery` (rounds). Owns
which streams the pod listens to: `all`, `authenticated`, its own probe stream, and those of the
users whose sockets it holds. When the connection is lost it subscribes anew, reads what it missed
on every stream, delivers that in id order, and goes on: no client notices.

Why one id is enough to catch up from: on one connection, Redis sends messages in the order in which
publish.lua ran, and ids rise in that order over all streams. So whoever heard id N has heard
everything up to N on every stream that he was subscribed to.

In a cluster that holds among the streams of the shared clock. A user's stream is apart: the pod
knows where it ended when the pod began to listen, and counts from there by the stream's own ids.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from operator import attrgetter
from typing import Final, Protocol

import structlog

from contract.audience import ALL, AUTHENTICATED, Audience, user_audience
from contract.errors import BusUnavailable
from contract.event import Event, InvalidMessage, parse_message
from contract.keyspace import CONTROL_STREAM
from contract.subscriber import Message, Subscribed
from gateway import catch_up
from gateway.catch_up import NEWEST, Heard, Missed, ReadingBus
from gateway.delivery import Delivery
from gateway.metrics import Metrics
from gateway.probe import Clocks, Prober, ProbingBus
from gateway.replay import Ring
from gateway.settings import GatewaySettings
from gateway.streams import Stream, Streams

_RETRY_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

# For Redis to confirm every stream; ten thousand take it a fraction of a second.
_SUBSCRIBE_SECONDS: Final = 15.0

_by_id: Final = attrgetter("id")

_log = structlog.get_logger(__name__)


class SubscriberConnection(Protocol):
    """What the subscription needs of `contract.subscriber.Subscriber`, or of a cluster's."""

    async def connect(self) -> None:
        """Open the connection."""
        ...

    def probe_streams(self, pod: str) -> list[str]:
        """The streams whose events, one on each, show that it works."""
        ...

    async def subscribe(self, streams: Iterable[str]) -> None:
        """Ask for streams."""
        ...

    async def unsubscribe(self, streams: Iterable[str]) -> None:
        """Give streams up."""
        ...

    async def receive(self) -> Message | Subscribed:
        """The next message or confirmation."""
        ...

    async def aclose(self) -> None:
        """Drop the connection."""
        ...


class Control(Protocol):
    """Who gets what comes on the control stream."""

    async def load(self) -> None:
        """The pod listens, after a time in which it did not: make up for that."""
        ...

    def hear(self, payload: bytes) -> None:
        """A message."""
        ...


class SubscribingBus(ReadingBus, ProbingBus, Protocol):
    """What the subscription needs of `contract.bus.Bus`."""

    async def holds(self, stream: str, id_: int) -> bool:
        """See `contract.bus.Bus.holds`."""
        ...


class Subscription:
    """The pod's subscription, over as many connections as it takes, one at a time."""

    def __init__(  # noqa: PLR0913 - all that hears or is heard, joined in app.py
        self,
        bus: SubscribingBus,
        delivery: Delivery,
        ring: Ring,
        metrics: Metrics,
        settings: GatewaySettings,
        *,
        connect: Callable[[], SubscriberConnection],
        tell_gap: Callable[[Collection[Audience], int], None],
        control: Control | None = None,
        clocks: Clocks | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._delivery = delivery
        self._ring = ring
        self._metrics = metrics
        self._connect = connect
        self._tell_gap = tell_gap
        self._control = control
        self._clocks = clocks
        self._replay_seconds = settings.history_max_age_seconds
        self._clock = clock
        self._positions = settings.positions
        self._pod = settings.pod
        self._prober = Prober(
            bus,
            interval_seconds=settings.probe_interval_seconds,
            timeout_seconds=settings.probe_timeout_seconds,
            clocks=clocks,
            clock=clock,
        )
        self._streams = Streams(
            users_apart=settings.positions.overlap > 0, control=control is not None
        )
        self._by_name = self._streams.by_name
        self._subscriber: SubscriberConnection | None = None
        # Everything up to here was heard, on every stream.
        self._heard = 0
        # Everything up to here was read from the logs; what the channels say of it is old.
        self._caught_up_to = 0
        # Audiences that lost events and have not been told so yet, by the position of the loss.
        self._untold: dict[int, set[Audience]] = {}
        self._caught_up = asyncio.Event()

    @property
    def verified_age_seconds(self) -> float:
        """Seconds since a probe last came back; infinite before the first one did."""
        return self._prober.verified_age_seconds

    async def join(self, user: str | None, *, whole: bool = False) -> None:
        """Return when everything that is published for a user, or for anybody, will come in.

        Args:
            whole: return only when what was published before lies at or below the pod's position
                too. A client that resumes finds that in the log, and nothing falls between the log
                and the subscription. It costs a probe, which others share.
        """
        await self._caught_up.wait()
        if user is None:
            return
        stream = self._streams.of_user(user_audience(user))
        stream.joining += 1
        try:
            await self._streams.confirmed(stream)
            if whole and not stream.apart:
                await self._delivery.reached(await self._prober.after(stream.confirmed_after))
        finally:
            stream.joining -= 1
            stream.idle_since = None

    async def refresh(self) -> None:
        """Return when everything that was published before the call has been delivered."""
        await self._delivery.reached(await self._prober.after(self._prober.sent))
        if self._positions.overlap:  # what is apart moves no position
            await self._delivery.flushed()

    async def prune(self, users: Collection[str], linger_seconds: float) -> None:
        """Give up the streams of users who have had no socket here for a while."""
        idle = self._streams.prune(users, linger_seconds, self._clock())
        if idle and self._subscriber is not None:
            try:
                await self._subscriber.unsubscribe(idle)
            except BusUnavailable as error:
                _log.debug("unsubscribe failed; the connection is lost", error=str(error))

    async def run(self) -> None:
        """Stay subscribed for ever."""
        failures = 0
        while True:
            heard = self._heard
            try:
                await self._one_connection()
            except* BusUnavailable as errors:
                _log.warning("bus connection lost", error=str(errors.exceptions[0]))
            except* Exception:  # noqa: BLE001 - the edge: the pod keeps its sockets and tries anew
                _log.exception("bus connection failed")
            failures = 0 if self._heard > heard else failures + 1
            await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])

    async def _one_connection(self) -> None:
        """Connect, catch up, listen; ends only by an exception group."""
        subscriber = self._connect()
        try:
            async with asyncio.TaskGroup() as group:
                await self._start(subscriber)
                group.create_task(self._subscribe_wanted(subscriber))
                group.create_task(self._prober.run())
                while True:
                    await self._hear(await subscriber.receive())
        finally:
            self._subscriber = None
            self._streams.end()
            await subscriber.aclose()

    async def _start(self, subscriber: SubscriberConnection) -> None:
        """Subscribe to everything, then deliver what went by in between."""
        try:
            await subscriber.connect()
        except BusUnavailable:
            self._metrics.bus_connects.labels("failed").inc()
            raise
        self._metrics.bus_connects.labels("connected").inc()
        self._subscriber = subscriber
        probes = subscriber.probe_streams(self._pod)
        streams = self._streams.begin(probes)
        try:
            async with asyncio.timeout(_SUBSCRIBE_SECONDS):
                early = await _subscribed(subscriber, {stream.name for stream in streams})
        except TimeoutError:
            raise BusUnavailable("Redis did not confirm the subscription in time") from None
        if self._control is not None:
            await self._control.load()
        if self._clocks is not None:
            await self._clocks.begin()
        # Everything published from here on comes in by subscription: the id tells both apart.
        confirmed_after = self._prober.sent
        now = await self._prober.begin(probes)
        if self._ring.floor is None:
            await self._fill_ring(now)
        elif now < self._heard:
            await self._begin_anew(now)
        else:
            await self._catch_up(streams, now)
        await self._find_ends([stream for stream in streams if stream.apart and not stream.last])
        self._caught_up_to = self._heard = now
        self._delivery.advance(now)
        self._prober.caught_up(now)
        self._caught_up.set()
        for stream in streams:
            self._streams.confirm(stream, confirmed_after)
        for message in early:
            await self._hear(message)

    async def _subscribe_wanted(self, subscriber: SubscriberConnection) -> None:
        """Ask for streams as they are joined.

        One command at a time: those joined while Redis has not confirmed it go into the next one,
        so that a storm of log-ins costs few system calls, and a single one does not wait.
        """
        while True:
            wanted = await self._streams.wanted()
            await subscriber.subscribe([stream.name for stream in wanted])
            await self._streams.wanted_confirmed()
            apart = [stream for stream in wanted if stream.apart]
            await self._find_ends(apart)
            for stream in apart:
                self._streams.confirm(stream, self._prober.sent)

    async def _find_ends(self, apart: Sequence[Stream]) -> None:
        """Begin with streams that Redis has confirmed: what was published before is not awaited."""
        audiences = [stream.audience for stream in apart if stream.audience]
        found = await catch_up.ends(self._bus, audiences)
        by_name = dict(zip([audience.stream for audience in audiences], found, strict=True))
        for stream in apart:
            # Something may have come in that was published after the look.
            stream.last = max(stream.last, by_name.get(stream.name, 0))

    async def _hear(self, item: Message | Subscribed) -> None:
        if isinstance(item, Subscribed):
            self._streams.hear(item.stream, self._prober.sent)
            return
        stream = self._by_name.get(item.stream)
        if stream is None:  # unsubscribed a moment ago
            return
        if self._control is not None and stream.name == CONTROL_STREAM:
            self._control.hear(item.payload)
            return
        await self._hear_event(stream, item.payload)

    async def _hear_event(self, stream: Stream, payload: bytes) -> None:
        try:
            event = parse_message(stream.audience or ALL, payload)
        except InvalidMessage as error:
            self._metrics.bus_messages_invalid.inc()
            _log.warning("not an event on the bus", stream=stream.name, error=str(error))
            return
        if 0 < event.prev < stream.last < event.id and not await self._accept(stream, event):
            return
        if event.id <= stream.last or (event.id <= self._caught_up_to and not stream.apart):
            return
        if stream.audience is None:
            self._prober.hear(stream.name, event.id)
        else:
            if 0 < stream.last < event.prev:
                await self._repair(stream, event)
            self._delivery.put(event)
        stream.last = event.id
        if not stream.apart:
            self._heard = max(self._heard, event.id)
            self._delivery.advance(self._heard)
        # Last, since a lost connection may cancel it: by then the event counts as heard.
        await self._delivery.room()

    async def _accept(self, stream: Stream, event: Event) -> bool:
        """Whether an event is one, though it follows another than the last one heard."""
        if self._positions.overlap and not await self._bus.holds(stream.name, event.id):
            # A primary that hung while another took its place carries out what it was sent before
            # it learns of that, and its messages come by the other. The log has none of them.
            _log.warning("an event of a former primary", stream=stream.name, id=event.id)
            return False
        if stream.audience is None:
            await self._part(stream)
        return True

    async def _part(self, probes: Stream) -> None:
        """Redis does not know a probe that came back: a failover has dropped writes, or the pod has
        listened to a primary that was replaced. What passed by on the new one meanwhile may have
        ids below those that were heard on the old one, and no event's `prev` tells of it.
        """
        probes.last = 0
        audiences = {stream.audience for stream in self._streams if stream.audience}
        await self._deliver(Missed(lost={ALL: self._heard}, forgotten=audiences), self._heard)
        await self._find_ends([stream for stream in self._streams if stream.apart])

    async def _repair(self, stream: Stream, event: Event) -> None:
        """Deliver what the log holds between the last event heard and this one."""
        before = event.id - 1
        heard = [Heard(stream.audience or ALL, stream.last, stream.last, stream.last, before)]
        until = self._heard if stream.apart else before
        await self._deliver(await catch_up.read(self._bus, heard, until), until)

    async def _catch_up(self, streams: Sequence[Stream], now: int) -> None:
        """Deliver everything after the last id heard, on every stream.

        Args:
            now: id of a probe of the shared clock; what its streams have above it will come in.
        """
        shared = self._heard
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
        if not missed.lost:
            return
        self._metrics.gaps.labels("lost").inc()
        _log.error("Redis lost events; clients are told", streams=len(missed.lost))
        for audience, floor in missed.lost.items():
            # No client is led back, though another stream may be ahead of this one's loss.
            position = max(floor, self._heard)
            if self._positions.overlap and (missed.forgotten or audience.user is not None):
                # Another clock's ids do not say where it lies: before all that was not heard yet.
                position = self._heard
            self._untold.setdefault(position, set()).add(audience)
        self._begin_streams_anew(missed)
        if missed.forgotten:
            lost_until = until if self._positions.overlap else missed.lost[ALL]
            self._ring.broken_until = max(lost_until, self._heard)

    def _begin_streams_anew(self, missed: Missed) -> None:
        """A loss is told once: nothing that follows has to join what came before it."""
        for audience in missed.lost.keys() | missed.forgotten:
            stream = self._by_name.get(audience.stream)
            if stream is not None:
                stream.last = missed.base.get(audience, 0) if stream.apart else 0
        if ALL in missed.lost:  # it concerns everyone: a lost probe has nothing to add
            for stream in self._streams:
                if stream.audience is None:
                    stream.last = 0

    def _put_until(self, events: deque[Event], position: int) -> None:
        """Deliver the events up to a position: then all streams have been heard up to there."""
        later = bisect_right(events, position, key=_by_id)
        self._put([events.popleft() for _ in range(later)])
        # On every stream of the shared clock, since its ids rise over all of them.
        self._heard = max(self._heard, position)

    def _put(self, events: Iterable[Event]) -> None:
        for event in events:
            stream = self._by_name.get(event.audience.stream)
            if stream is not None:
                stream.last = event.id
            self._delivery.put(event)

    async def _begin_anew(self, now: int) -> None:
        """Ids went back: another data set, whose clock is behind. Nothing joins what was heard."""
        _log.error("Redis began anew with earlier ids; clients are told")
        self._metrics.gaps.labels("lost").inc()
        await self._delivery.flushed()
        for stream in self._streams:
            stream.last = 0
        self._untold.clear()
        self._delivery.rewind(now)
        self._ring.fill(now, [])
        self._ring.broken_until = 0
        self._tell_gap({ALL}, now)

    async def _fill_ring(self, now: int) -> None:
        """Give a fresh pod the recent past, so that clients of other pods can resume here."""
        since = max(0, now - int(self._replay_seconds * 1_000_000))
        histories = await self._bus.history([(ALL, since), (AUTHENTICATED, since)], limit=1)
        floor = max(since, *(history.floor for history in histories))
        heard = [Heard(audience, 0, floor, floor, now) for audience in (ALL, AUTHENTICATED)]
        missed = await catch_up.read(self._bus, heard, now)
        if missed.lost:  # trimmed since the floor was read: the next connection will try again
            self._ring.fill(now, [])
        else:
            self._ring.fill(floor, missed.events)


async def _subscribed(subscriber: SubscriberConnection, names: Collection[str]) -> list[Message]:
    """Subscribe, and return the messages that came in before Redis had confirmed every stream."""
    await subscriber.subscribe(names)
    early: list[Message] = []
    missing = set(names)
    while missing:
        item = await subscriber.receive()
        if isinstance(item, Subscribed):
            missing.discard(item.stream)
        else:
            early.append(item)
    return early
