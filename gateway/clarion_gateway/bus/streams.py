"""The streams that a pod listens to, and the connections that wait for them. No I/O.

`clarion_gateway.bus.subscription` keeps them. A stream is *wanted* once a connection joins it. It
is *confirmed* once Redis has confirmed it on the present connection. The pod gives a stream with a
name up when it has had no member here for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from clarion_contract.bus.positions import Positions
from clarion_contract.events.audience import Audience, shared_audiences
from clarion_contract.events.event import Event

# So many streams at once are asked for: Redis takes about a millisecond for them.
_WANTED_AT_ONCE: Final = 1_000
# So many streams without members stay at most. A client that subscribes to ever new topics, and
# gives them up again, must not fill the pod's memory with them.
_IDLE_MAX: Final = 10_000


@dataclass(slots=True, eq=False)
class Stream:
    """A stream that the pod listens to. Only its own methods change ``last``.

    Attributes:
        name: as in `Audience.stream`.
        audience: None for the pod's own probe streams, and those of messages that are no events.
        apart: whether its ids come from another clock than the shared one.
        last: id of the newest event heard on it; 0: none yet. If it is apart and the pod has heard
            nothing yet, this is the id at which it ended before.
        logged: id of the newest one that its log must have: not of events without history, nor of
            pieces of texts, which later ones replace; 0: none yet.
        confirmed: whether Redis has confirmed the subscription on the present connection.
        confirmed_after: the number of probes sent before that. Everything after the next probe's
            id will arrive.
        idle_since: when its last member was found gone, on a monotonic clock, in seconds; None
            while there is one.
        joining: the number of connections that wait for it.
    """

    name: str
    audience: Audience | None
    apart: bool = False
    last: int = 0
    logged: int = 0
    confirmed: bool = False
    confirmed_after: int = 0
    idle_since: float | None = None
    joining: int = 0

    def heard(self, event: Event) -> None:
        """Note an event that has come in, or was read from the log."""
        self.last = event.id
        if event.history and not event.of_text:
            self.logged = event.id

    def ended(self, id_: int) -> None:
        """Note that all later events will have ids above ``id_``; some may have come in already."""
        self.last = max(self.last, id_)

    def begin_anew(self, base: int = 0) -> None:
        """Forget the last event. The next one must follow ``base``; 0: it may be any."""
        self.last = base
        self.logged = 0

    def lacks_before(self, event: Event) -> bool:
        """Whether an event was published between the last one heard and this one."""
        return 0 < self.last < event.prev

    def forks_at(self, event: Event) -> bool:
        """Whether an event does not follow the last one heard, though its id is higher.

        Either Redis does not know the last event any more, or this one is of a former primary.
        """
        return 0 < event.prev < self.last < event.id


class Streams:
    """All streams that the pod listens to.

    Attributes:
        by_name: streams by their names, which bus messages carry.
        heard: the pod has heard everything up to this id, on every stream of the shared clock.

    Args:
        others: streams of messages that are no events, to which the pod listens too.
    """

    def __init__(self, positions: Positions, *, others: Iterable[str] = ()) -> None:
        streams = [Stream(audience.stream, audience) for audience in shared_audiences()]
        streams += [Stream(name, None) for name in others]
        self.by_name = {stream.name: stream for stream in streams}
        self.heard = 0
        self._positions = positions
        self._probes: Sequence[str] = ()
        # The streams to ask Redis for, and the connections that wait for confirmations.
        self._wanted: list[str] = []
        self._wants = asyncio.Event()
        self._waiters: dict[str, asyncio.Event] = {}
        self._unconfirmed: set[str] = set()
        self._all_confirmed = asyncio.Event()

    def __iter__(self) -> Iterator[Stream]:
        return iter(self.by_name.values())

    @property
    def apart(self) -> list[Stream]:
        """The streams whose ids come from other clocks than the shared one."""
        return [stream for stream in self if stream.apart]

    def hear_up_to(self, position: int) -> None:
        """Note that every stream of the shared clock has been heard up to a position.

        One id is enough for all of them, since ids rise over all of them together.
        """
        self.heard = max(self.heard, position)

    def rewind(self, position: int) -> None:
        """Begin anew on every stream, since ids went back to ``position``."""
        self.heard = position
        for stream in self:
            stream.begin_anew()

    def of(self, audience: Audience) -> Stream:
        """The stream of one audience, which is wanted from now on."""
        stream = self.by_name.get(audience.stream)
        if stream is None:
            stream = self._new(audience.stream, audience)
            self.by_name[stream.name] = stream
            self._wanted.append(stream.name)
            self._wants.set()
        return stream

    def interned(self, audience: Audience) -> Audience:
        """The audience of the stream that the pod listens to; the given one if it does not."""
        stream = self.by_name.get(audience.stream)
        return (stream and stream.audience) or audience

    def is_confirmed(self, name: str) -> bool:
        """Whether Redis has confirmed the stream of that name on the present connection."""
        stream = self.by_name.get(name)
        return stream is not None and stream.confirmed

    async def confirmed(self, stream: Stream) -> None:
        """Return when Redis has confirmed a stream."""
        if not stream.confirmed:
            await self._waiters.setdefault(stream.name, asyncio.Event()).wait()

    def begin(self, probes: Sequence[str]) -> list[Stream]:
        """Return all streams to subscribe to on a new connection; none is left for `wanted`.

        Args:
            probes: the probe streams of this connection.
        """
        for name in set(self._probes) - set(probes):
            del self.by_name[name]
        for name in set(probes) - set(self._probes):
            self.by_name[name] = self._new(name, None)
        self._probes = probes
        self._wanted.clear()
        self._wants.clear()
        return list(self)

    def end(self) -> None:
        """Note that the connection is lost: no stream is confirmed any more."""
        for stream in self:
            stream.confirmed = False

    async def wanted(self) -> list[Stream]:
        """Wait until streams are joined, and return those joined since the last call.

        If they are many, the rest comes with the next call.
        """
        await self._wants.wait()
        wanted, self._wanted = self._wanted[:_WANTED_AT_ONCE], self._wanted[_WANTED_AT_ONCE:]
        if not self._wanted:
            self._wants.clear()
        self._unconfirmed = set(wanted)
        self._all_confirmed.clear()
        return [self.by_name[name] for name in wanted]

    async def wanted_confirmed(self) -> None:
        """Return when Redis has confirmed all that `wanted` returned."""
        await self._all_confirmed.wait()

    def hear(self, name: str, probes_sent: int) -> None:
        """Note that Redis has confirmed a stream.

        Args:
            probes_sent: the number of probes sent so far.
        """
        self._unconfirmed.discard(name)
        if not self._unconfirmed:
            self._all_confirmed.set()
        stream = self.by_name.get(name)
        # For a stream with another clock, the pod must first find out where it ended.
        if stream is not None and not stream.apart:
            self.confirm(stream, probes_sent)

    def confirm(self, stream: Stream, probes_sent: int) -> None:
        """Mark a stream as confirmed, and wake the connections that wait for it."""
        stream.confirmed = True
        stream.confirmed_after = probes_sent
        waiter = self._waiters.pop(stream.name, None)
        if waiter is not None:
            waiter.set()

    def _new(self, name: str, audience: Audience | None) -> Stream:
        return Stream(name, audience, self._positions.is_apart(name))

    def prune(self, heard: Collection[str], linger_seconds: float, now: float) -> list[str]:
        """Forget streams without a member for ``linger_seconds``; returns their names.

        If very many have no member, those that have had none for longest go before.

        Args:
            heard: the streams with a name that have members here.
            now: seconds, on the clock of the call before.
        """
        idle: list[Stream] = []
        for stream in self:
            if stream.audience is None or not stream.audience.named or not stream.confirmed:
                continue
            if stream.joining or stream.name in heard:
                stream.idle_since = None
            elif stream.idle_since is None:
                stream.idle_since = now
            else:
                idle.append(stream)
        idle.sort(key=lambda stream: stream.idle_since or 0.0)
        too_many = max(0, len(idle) - _IDLE_MAX)
        gone = [
            stream.name
            for place, stream in enumerate(idle)
            if place < too_many or now - (stream.idle_since or 0.0) >= linger_seconds
        ]
        for name in gone:
            del self.by_name[name]
        return gone
