"""The pod's subscription to the bus: every event once, in order, with gaps repaired from the logs.

It stands between `clarion_contract.redis.subscriber` (bytes of one connection) and
`clarion_gateway.delivery.rounds` (rounds). The pod listens to the streams of kinds with one stream
(`all`, `authenticated`), to its own probe stream, and to streams with a name (such as a user's)
that have members here. When the connection is lost, the pod subscribes anew, and
`clarion_gateway.bus.repair` reads and delivers what was missed on every stream. No client notices.

One id is enough to catch up from. On one connection, Redis sends messages in the order in which
publish.lua ran, and ids rise in that order over all streams. So a pod that has heard id N has heard
everything up to N, on every stream that it was subscribed to.

In a cluster this holds for the streams of the shared clock only. A user's stream is apart: it has
ids of another clock. The pod learns where such a stream ends when it begins to listen, and counts
from there by the stream's own ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
)
from typing import Final, Protocol

import structlog

from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Event, InvalidMessage, parse_message
from clarion_contract.events.topic_members import PRESENCE_CHANGED
from clarion_contract.redis.backoff import reconnect_delay_seconds
from clarion_contract.redis.keyspace import CONTROL_STREAM
from clarion_contract.redis.subscriber import Message, Subscribed
from clarion_gateway.bus.probe import STAYED_AWAY, Clocks, Prober, ProbingBus
from clarion_gateway.bus.repair import Repair, TellGap
from clarion_gateway.bus.streams import Stream, Streams
from clarion_gateway.bus.subscriber_connection import (
    SubscriberConnection,
    come_back,
    subscribed,
)
from clarion_gateway.delivery.logs import HistoryBus
from clarion_gateway.delivery.ring import Ring
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings

# How long Redis may take to confirm every stream. Ten thousand take a fraction of a second.
_SUBSCRIBE_SECONDS: Final = 15.0

_log = structlog.get_logger(__name__)


class Control(Protocol):
    """The receiver of messages on the control stream."""

    async def load(self) -> None:
        """Catch up with orders that the pod missed; called when it listens again."""
        ...

    def hear(self, payload: bytes) -> None:
        """Take one message of the control stream."""
        ...


class Relay(Protocol):
    """The part of `clarion_gateway.bus.relay.Relay` that the subscription uses."""

    stream: str

    def hear(self, payload: bytes) -> None:
        """Take one message of another pod."""
        ...


class SubscribingBus(HistoryBus, ProbingBus, Protocol):
    """The part of `clarion_contract.bus.bus.Bus` that the subscription uses."""

    async def holds(self, stream: str, id_: int) -> bool:
        """See `clarion_contract.bus.bus.Bus.holds`."""
        ...


def _tell_nobody(stream: str) -> None:
    """Do nothing; the initial value of `Subscription.presence_changed`."""


class Subscription:
    """The pod's subscription. It outlives connections to Redis, and has one at a time.

    Attributes:
        presence_changed: called with a topic's stream when its members on another pod, or on this
            one, have changed.
    """

    def __init__(  # noqa: PLR0913 - all that hears or is heard, joined in app.py
        self,
        bus: SubscribingBus,
        delivery: Delivery,
        ring: Ring,
        metrics: Metrics,
        settings: GatewaySettings,
        *,
        connect: Callable[[], SubscriberConnection],
        tell_gap: TellGap,
        control: Control | None = None,
        clocks: Clocks | None = None,
        relay: Relay | None = None,
        check: Callable[[], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._delivery = delivery
        self._metrics = metrics
        self._connect = connect
        self._control = control
        self._clocks = clocks
        # Asked on each new connection until it has passed once.
        self._check = check
        self._clock = clock
        self._positions = settings.positions
        self._pod = settings.pod
        self._probe_timeout_seconds = settings.probe_timeout_seconds
        self._prober = Prober(
            bus,
            # The log that a read has to hold must not expire in between.
            interval_seconds=min(
                settings.probe_interval_seconds, settings.history_max_age_seconds / 2
            ),
            timeout_seconds=settings.probe_timeout_seconds,
            clocks=clocks,
            clock=clock,
        )
        # Those that hear messages that are no events, by stream.
        self._hearers: dict[str, Callable[[bytes], None]] = {}
        if control is not None:
            self._hearers[CONTROL_STREAM] = control.hear
        if relay is not None:
            self._hearers[relay.stream] = relay.hear
        self._streams = Streams(settings.positions, others=self._hearers)
        self._by_name = self._streams.by_name
        self._repair = Repair(bus, self._streams, delivery, ring, metrics, settings, tell_gap)
        self.presence_changed: Callable[[str], None] = _tell_nobody
        self._subscriber: SubscriberConnection | None = None
        # Everything up to here was read from the logs. Messages with such ids come a second time.
        self._caught_up_to = 0
        self._caught_up = asyncio.Event()

    @property
    def verified_age_seconds(self) -> float:
        """Seconds since a probe last came back; infinite before the first one did."""
        return self._prober.verified_age_seconds

    @property
    def trouble(self) -> BusUnavailable | None:
        """The failure that keeps the bus from being verified; None: there is none."""
        return self._prober.trouble

    async def join(self, audiences: Iterable[Audience]) -> None:
        """Return when every event for these audiences above the pod's position will come in."""
        async with self.joined(audiences):
            pass

    @contextlib.asynccontextmanager
    async def joined(self, audiences: Iterable[Audience]) -> AsyncIterator[None]:
        """Enter when every event above the pod's position will come in, and stay subscribed.

        So a client may be told that position: the events that the subscription came too late for
        lie below it, and those above it leave no hole. If the pod did not listen to one of the
        streams before, this costs a probe, which other joins share. Streams with a clock of their
        own, on a cluster, may have such a hole; what is published from now on comes in.

        Args:
            audiences: any; the pod listens to those of kinds with one stream in any case.
        """
        await self._caught_up.wait()
        streams = [self._streams.of(audience) for audience in audiences if audience.named]
        for stream in streams:
            stream.joining += 1
        try:
            for stream in streams:
                await self._streams.confirmed(stream)
            shared = [stream.confirmed_after for stream in streams if not stream.apart]
            if shared:
                await self._delivery.reached(await self._prober.after(max(shared)))
            yield
        finally:
            for stream in streams:
                stream.joining -= 1
                stream.idle_since = None

    def unconfirmed(self, audiences: Iterable[Audience]) -> int:
        """The number of audiences for which Redis has yet to confirm the pod's subscription."""
        return sum(not self._streams.is_confirmed(audience.stream) for audience in audiences)

    def interned(self, audiences: Iterable[Audience]) -> tuple[Audience, ...]:
        """The same audiences, as the objects that the pod keeps of those that it listens to.

        If connections keep these, an audience takes its memory once, and not once for each member.
        """
        return tuple(self._streams.interned(audience) for audience in audiences)

    async def refresh(self) -> None:
        """Return when everything that was published before the call has been delivered."""
        await self._delivery.reached(await self._prober.after(self._prober.sent))
        await self._delivery.flushed()  # events of other clocks do not move the position

    async def prune(self, heard: Collection[str], linger_seconds: float) -> None:
        """Unsubscribe from streams without a member here for ``linger_seconds``.

        Args:
            heard: the streams with a name that have members here.
        """
        idle = self._streams.prune(heard, linger_seconds, self._clock())
        self._delivery.forget_topics(idle)
        if idle and self._subscriber is not None:
            try:
                await self._subscriber.unsubscribe(idle)
            except BusUnavailable as error:
                _log.debug("unsubscribe failed; the connection is lost", error=str(error))

    async def run(self) -> None:
        """Stay subscribed for ever."""
        failures = 0
        while True:
            heard = self._streams.heard
            try:
                await self._one_connection()
            except* BusUnavailable as errors:
                error = next(leaf for leaf in _leaves(errors) if isinstance(leaf, BusUnavailable))
                self._prober.trouble = error
                _log.warning("bus connection lost", error=str(error))
            except* Exception:  # noqa: BLE001 - the edge: the pod keeps its sockets and tries anew
                _log.exception("bus connection failed")
            failures = 0 if self._streams.heard > heard else failures + 1
            await asyncio.sleep(reconnect_delay_seconds(failures))

    async def _one_connection(self) -> None:
        """Connect, catch up, and listen until an exception group ends it."""
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
        """Subscribe to every stream, then deliver what the pod missed."""
        try:
            await subscriber.connect()
        except BusUnavailable:
            self._metrics.bus_connects.labels("failed").inc()
            raise
        self._metrics.bus_connects.labels("connected").inc()
        if self._check is not None:
            await self._check()
            self._check = None
        self._subscriber = subscriber
        self._delivery.forget_topics()
        probes = subscriber.probe_streams(self._pod)
        streams = self._streams.begin(probes)
        try:
            async with asyncio.timeout(_SUBSCRIBE_SECONDS):
                early = await subscribed(subscriber, {stream.name for stream in streams})
        except TimeoutError:
            raise BusUnavailable("Redis did not confirm the subscription in time") from None
        if self._clocks is not None:
            await self._clocks.begin()
        # Everything published from here on comes in by subscription. The id of this probe separates
        # those events from the ones that have to be read.
        confirmed_after = self._prober.sent
        probe = await self._prober.begin(probes)
        # Until it has come back, it may have gone to another server than the subscription.
        try:
            async with asyncio.timeout(self._probe_timeout_seconds):
                early += await come_back(subscriber, probe)
        except TimeoutError:
            raise BusUnavailable(STAYED_AWAY) from None
        self._bus.believe(probe)
        if self._control is not None:
            await self._control.load()
        now = probe[probes[0]]
        await self._repair.catch_up(streams, now)
        self._caught_up_to = now
        self._delivery.advance(now)
        self._prober.caught_up(now)
        self._caught_up.set()
        for stream in streams:
            self._streams.confirm(stream, confirmed_after)
        for message in early:
            await self._hear(message)

    async def _subscribe_wanted(self, subscriber: SubscriberConnection) -> None:
        """Ask Redis for streams as they are joined.

        One command is under way at a time. Streams that are joined meanwhile go into the next one.
        So many log-ins at once cost few system calls, and a single log-in does not wait.
        """
        while True:
            wanted = await self._streams.wanted()
            await subscriber.subscribe([stream.name for stream in wanted])
            await self._streams.wanted_confirmed()
            apart = [stream for stream in wanted if stream.apart]
            await self._repair.find_ends(apart)
            for stream in apart:
                self._streams.confirm(stream, self._prober.sent)

    async def _hear(self, item: Message | Subscribed) -> None:
        if isinstance(item, Subscribed):
            self._streams.hear(item.stream, self._prober.sent)
            return
        stream = self._by_name.get(item.stream)
        if stream is None:  # unsubscribed a moment ago
            return
        hear = self._hearers.get(stream.name)
        if hear is not None:
            hear(item.payload)
            return
        await self._hear_event(stream, item.payload)

    async def _hear_event(self, stream: Stream, payload: bytes) -> None:
        try:
            event = parse_message(stream.audience or ALL, payload)
        except InvalidMessage as error:
            self._metrics.bus_messages_invalid.inc()
            _log.warning("not an event on the bus", stream=stream.name, error=str(error))
            return
        joins = event.prev == stream.last  # true for nearly all events, which skip the checks below
        if not joins and not await self._accept(stream, event):
            return
        if event.id <= stream.last or (event.id <= self._caught_up_to and not stream.apart):
            return
        if stream.audience is None:
            self._prober.hear(stream.name, event.id)
        else:
            if not joins and stream.lacks_before(event):
                await self._repair.fill_gap(stream, event)
            if event.type == PRESENCE_CHANGED and not event.history:
                self.presence_changed(stream.name)
            else:
                self._delivery.put(event)
        stream.heard(event)
        if not stream.apart:
            self._streams.hear_up_to(event.id)
            self._delivery.advance(event.id)
        # This comes last, since a lost connection may cancel it: the event must count as heard.
        await self._delivery.room()

    async def _accept(self, stream: Stream, event: Event) -> bool:
        """Whether an event counts, though it does not follow the last one heard."""
        if stream.forks_at(event):
            if (
                self._positions.several_sources
                and not event.of_text  # later pieces of the text replace it in the log
                and not await self._bus.holds(stream.name, event.id)
            ):
                # A primary that hung while another took its place first carries out the commands
                # that it had got, and only then learns that it was replaced. Its messages reach the
                # pod through the other one, but the log has none of these events.
                _log.warning("an event of a former primary", stream=stream.name, id=event.id)
                return False
            forgotten = stream.audience is None
        else:
            # A probe came between that the pod did not hear. It may have gone to a new primary
            # while the pod still heard the former one, and the new one lacks what was heard there.
            passed_by = stream.audience is None and stream.lacks_before(event)
            forgotten = passed_by and not await self._bus.holds(stream.name, stream.last)
        if forgotten:
            await self._repair.failed_over()
        return True


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
