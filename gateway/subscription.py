"""What the pod hears of the bus: every event once, in order, with gaps repaired from the logs.

Stands between `contract.subscriber` (bytes of one connection) and `gateway.delivery` (rounds). Owns
which streams the pod listens to: `all`, `authenticated`, its own probe stream, and those of the
users whose sockets it holds. When the connection is lost it subscribes anew, reads what it missed
on every stream, delivers that in id order, and goes on: no client notices.

Why one id is enough to catch up from: on one connection, Redis sends messages in the order in which
publish.lua ran, and ids rise in that order over all streams. So whoever heard id N has heard
everything up to N on every stream that he was subscribed to.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from contract.audience import ALL, AUTHENTICATED, Audience, user_audience
from contract.errors import BusUnavailable
from contract.event import Event, InvalidMessage, parse_message
from contract.keyspace import CONTROL_STREAM, pod_stream
from contract.subscriber import Message, Subscribed
from gateway import catch_up
from gateway.catch_up import Heard, Missed, ReadingBus
from gateway.delivery import Delivery
from gateway.metrics import Metrics
from gateway.probe import Prober, ProbingBus
from gateway.replay import Ring
from gateway.settings import GatewaySettings

_RETRY_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

# For Redis to confirm every stream; ten thousand take it a fraction of a second.
_SUBSCRIBE_SECONDS: Final = 15.0

_log = structlog.get_logger(__name__)


class SubscriberConnection(Protocol):
    """What the subscription needs of `contract.subscriber.Subscriber`."""

    async def connect(self) -> None:
        """Open the connection."""
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


@dataclass(slots=True, eq=False)
class _Stream:
    """A stream that the pod listens to.

    Attributes:
        audience: None for the pod's own probe stream and the control stream.
        last: id of the newest event heard on it; 0: none yet.
        confirmed: Redis has confirmed the subscription on the connection of now.
        confirmed_after: so many probes were sent before that. Of the next one to come back, it is
            true that nothing above its id can have passed the pod by.
        idle_since: when its user's last socket was found gone; None while there is one.
        joining: connections that wait for it.
    """

    name: str
    audience: Audience | None
    last: int = 0
    confirmed: bool = False
    confirmed_after: int = 0
    idle_since: float | None = None
    joining: int = 0


class Subscription:
    """The pod's subscription, over as many connections as it takes, one at a time."""

    def __init__(
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._delivery = delivery
        self._ring = ring
        self._metrics = metrics
        self._connect = connect
        self._tell_gap = tell_gap
        self._control = control
        self._replay_seconds = settings.history_max_age_seconds
        self._clock = clock
        self._prober = Prober(
            bus,
            settings.pod,
            interval_seconds=settings.probe_interval_seconds,
            timeout_seconds=settings.probe_timeout_seconds,
            clock=clock,
        )
        self._all = _Stream(ALL.stream, ALL)
        self._authenticated = _Stream(AUTHENTICATED.stream, AUTHENTICATED)
        self._probe_stream = _Stream(pod_stream(settings.pod), None)
        self._streams = {
            stream.name: stream for stream in (self._all, self._authenticated, self._probe_stream)
        }
        if control is not None:
            self._streams[CONTROL_STREAM] = _Stream(CONTROL_STREAM, None)
        self._subscriber: SubscriberConnection | None = None
        # Streams to ask Redis for, and who waits for which to be confirmed.
        self._wanted: list[str] = []
        self._wants = asyncio.Event()
        self._waiters: dict[str, asyncio.Event] = {}
        self._unconfirmed: set[str] = set()
        self._all_confirmed = asyncio.Event()
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
        audience = user_audience(user)
        stream = self._streams.get(audience.stream)
        if stream is None:
            stream = self._streams[audience.stream] = _Stream(audience.stream, audience)
            self._wanted.append(stream.name)
            self._wants.set()
        stream.joining += 1
        try:
            if not stream.confirmed:
                await self._waiters.setdefault(stream.name, asyncio.Event()).wait()
            if whole:
                await self._delivery.reached(await self._prober.after(stream.confirmed_after))
        finally:
            stream.joining -= 1
            stream.idle_since = None

    async def refresh(self) -> None:
        """Return when everything that was published before the call has been delivered."""
        await self._delivery.reached(await self._prober.after(self._prober.sent))

    async def prune(self, users: Collection[str], linger_seconds: float) -> None:
        """Give up the streams of users who have had no socket here for a while."""
        now = self._clock()
        idle: list[str] = []
        for stream in self._streams.values():
            if stream.audience is None or stream.audience.user is None or not stream.confirmed:
                continue
            if stream.joining or stream.audience.user in users:
                stream.idle_since = None
            elif stream.idle_since is None:
                stream.idle_since = now
            elif now - stream.idle_since >= linger_seconds:
                idle.append(stream.name)
        for name in idle:
            del self._streams[name]
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
            for stream in self._streams.values():
                stream.confirmed = False
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
        streams = list(self._streams.values())
        # These are all that anybody has asked for so far: nothing is left to want.
        self._wanted.clear()
        self._wants.clear()
        try:
            async with asyncio.timeout(_SUBSCRIBE_SECONDS):
                early = await _subscribed(subscriber, {stream.name for stream in streams})
        except TimeoutError:
            raise BusUnavailable("Redis did not confirm the subscription in time") from None
        if self._control is not None:
            await self._control.load()
        # Everything published from here on comes in by subscription: the id tells both apart.
        confirmed_after = self._prober.sent
        now = await self._prober.send()
        if self._ring.floor is None:
            await self._fill_ring(now)
        elif now < self._heard:
            await self._begin_anew(now)
        else:
            await self._catch_up([stream for stream in streams if stream.audience], now)
        self._caught_up_to = self._heard = now
        self._delivery.advance(now)
        self._prober.begin(now)
        self._caught_up.set()
        for stream in streams:
            self._confirm(stream, confirmed_after)
        for message in early:
            await self._hear(message)

    async def _subscribe_wanted(self, subscriber: SubscriberConnection) -> None:
        """Ask for streams as they are joined.

        One command at a time: those joined while Redis has not confirmed it go into the next one,
        so that a storm of log-ins costs few system calls, and a single one does not wait.
        """
        while True:
            await self._wants.wait()
            self._wants.clear()
            wanted, self._wanted = self._wanted, []
            self._unconfirmed = set(wanted)
            self._all_confirmed.clear()
            await subscriber.subscribe(wanted)
            await self._all_confirmed.wait()

    def _confirm(self, stream: _Stream, after: int) -> None:
        stream.confirmed = True
        stream.confirmed_after = after
        waiter = self._waiters.pop(stream.name, None)
        if waiter is not None:
            waiter.set()

    async def _hear(self, item: Message | Subscribed) -> None:
        if isinstance(item, Subscribed):
            self._unconfirmed.discard(item.stream)
            if not self._unconfirmed:
                self._all_confirmed.set()
        stream = self._streams.get(item.stream)
        if stream is None:  # unsubscribed a moment ago
            return
        if isinstance(item, Subscribed):
            self._confirm(stream, self._prober.sent)
            return
        if self._control is not None and stream.name == CONTROL_STREAM:
            self._control.hear(item.payload)
            return
        await self._hear_event(stream, item.payload)

    async def _hear_event(self, stream: _Stream, payload: bytes) -> None:
        try:
            event = parse_message(stream.audience or ALL, payload)
        except InvalidMessage as error:
            self._metrics.bus_messages_invalid.inc()
            _log.warning("not an event on the bus", stream=stream.name, error=str(error))
            return
        if stream is self._probe_stream and 0 < event.prev < stream.last < event.id:
            await self._part(stream)
        if event.id <= self._caught_up_to or event.id <= stream.last:
            return
        if stream.audience is None:
            self._prober.hear(event.id)
        else:
            if 0 < stream.last < event.prev:
                await self._repair(stream, event)
            self._delivery.put(event)
        stream.last = event.id
        self._heard = max(self._heard, event.id)
        self._delivery.advance(self._heard)
        # Last, since a lost connection may cancel it: by then the event counts as heard.
        await self._delivery.room()

    async def _part(self, probes: _Stream) -> None:
        """Redis does not know a probe that came back: a failover has dropped writes, or the pod has
        listened to a primary that was replaced. What passed by on the new one meanwhile may have
        ids below those that were heard on the old one, and no event's `prev` tells of it.
        """
        probes.last = 0
        audiences = {stream.audience for stream in self._streams.values() if stream.audience}
        await self._deliver(Missed(lost={ALL: self._heard}, forgotten=audiences), self._heard)

    async def _repair(self, stream: _Stream, event: Event) -> None:
        """Deliver what the log holds between the last event heard and this one."""
        missed = await catch_up.read(self._bus, _heard([stream]), stream.last, event.id - 1)
        await self._deliver(missed, event.id - 1)

    async def _catch_up(self, streams: Sequence[_Stream], now: int) -> None:
        """Deliver everything after the last id heard, up to ``now``, on every stream."""
        missed = await catch_up.read(self._bus, _heard(streams), self._heard, now)
        await self._deliver(missed, now)

    async def _deliver(self, missed: Missed, until: int) -> None:
        """Take over what was read.

        A loss is told where it lies: after what came before it and before what came after it. A
        client whose connection ends in between would otherwise resume from beyond a loss that
        nobody has told it of.
        """
        self._note_losses(missed)
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

    def _note_losses(self, missed: Missed) -> None:
        if missed.events:
            self._metrics.gaps.labels("repaired").inc()
            _log.info("gap repaired from the log", events=len(missed.events))
        if not missed.lost:
            return
        self._metrics.gaps.labels("lost").inc()
        _log.error("Redis lost events; clients are told", streams=len(missed.lost))
        for audience, floor in missed.lost.items():
            # No client is led back, though another stream may be ahead of this one's loss.
            self._untold.setdefault(max(floor, self._heard), set()).add(audience)
        for audience in missed.lost.keys() | missed.forgotten:
            stream = self._streams.get(audience.stream)
            if stream is not None:
                stream.last = 0  # told once: what follows begins anew
        if ALL in missed.lost:
            self._probe_stream.last = 0  # it concerns everyone: a lost probe has nothing to add
        if missed.forgotten:
            self._ring.broken_until = max(missed.lost[ALL], self._heard)

    def _put_until(self, events: deque[Event], position: int) -> None:
        """Deliver the events up to a position: then all streams have been heard up to there."""
        while events and events[0].id <= position:
            event = events.popleft()
            stream = self._streams.get(event.audience.stream)
            if stream is not None:
                stream.last = event.id
            self._delivery.put(event)
        # On every stream, since ids rise over all of them.
        self._heard = max(self._heard, position)

    async def _begin_anew(self, now: int) -> None:
        """Ids went back: another data set, whose clock is behind. Nothing joins what was heard."""
        _log.error("Redis began anew with earlier ids; clients are told")
        self._metrics.gaps.labels("lost").inc()
        await self._delivery.flushed()
        for stream in self._streams.values():
            stream.last = 0
        self._untold.clear()
        self._delivery.rewind(now)
        self._ring.fill(now, [])
        self._ring.broken_until = 0
        self._tell_gap({ALL}, now)

    async def _fill_ring(self, now: int) -> None:
        """Give a fresh pod the recent past, so that clients of other pods can resume here."""
        since = max(0, now - int(self._replay_seconds * 1_000_000))
        shared = (self._all, self._authenticated)
        histories = await self._bus.history([(ALL, since), (AUTHENTICATED, since)], limit=1)
        floor = max(since, *(history.floor for history in histories))
        missed = await catch_up.read(self._bus, _heard(shared), floor, now)
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


def _heard(streams: Iterable[_Stream]) -> list[Heard]:
    return [Heard(stream.audience, stream.last) for stream in streams if stream.audience]
