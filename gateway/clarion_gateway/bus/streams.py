"""The streams that a pod listens to, and who waits for which: what
`clarion_gateway.bus.subscription` keeps.

No I/O. A stream is wanted from the moment somebody joins it, confirmed once Redis has said so on
the connection of now, and given up when its user has had no socket here for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from clarion_contract.bus.positions import Positions
from clarion_contract.events.audience import Audience, shared_audiences
from clarion_contract.events.event import Event
from clarion_contract.redis.keyspace import CONTROL_STREAM


@dataclass(slots=True, eq=False)
class Stream:
    """A stream that the pod listens to. Its methods alone change ``last``.

    Attributes:
        audience: None for the pod's own probe streams and the control stream.
        apart: its ids are not of the shared clock.
        last: id of the newest event heard on it; 0: none yet. Where it is apart and the pod has
            heard nothing yet: where it ended before.
        confirmed: Redis has confirmed the subscription on the connection of now.
        confirmed_after: so many probes were sent before that. Of the next one to come back, it is
            true that nothing above its id can have passed the pod by.
        idle_since: when its user's last socket was found gone; None while there is one.
        joining: connections that wait for it.
    """

    name: str
    audience: Audience | None
    apart: bool = False
    last: int = 0
    confirmed: bool = False
    confirmed_after: int = 0
    idle_since: float | None = None
    joining: int = 0

    def heard(self, id_: int) -> None:
        """An event has come in, or was read."""
        self.last = id_

    def ended(self, id_: int) -> None:
        """Nothing up to an id is still to be published; more may have come in already."""
        self.last = max(self.last, id_)

    def begin_anew(self, base: int = 0) -> None:
        """What was heard before counts as ended at ``base``; 0: whatever follows joins it."""
        self.last = base

    def lacks_before(self, event: Event) -> bool:
        """Whether an event was published between the last one heard and this one."""
        return 0 < self.last < event.prev

    def forks_at(self, event: Event) -> bool:
        """Whether an event follows another than the last one heard: Redis does not know that one,
        or the event is of a former primary."""
        return 0 < event.prev < self.last < event.id


class Streams:
    """All of them.

    Attributes:
        by_name: to look a message's stream up in.
        heard: everything up to here was heard, on every stream of the shared clock.
    """

    def __init__(self, positions: Positions, *, control: bool) -> None:
        streams = [Stream(audience.stream, audience) for audience in shared_audiences()]
        if control:
            streams.append(Stream(CONTROL_STREAM, None))
        self.by_name = {stream.name: stream for stream in streams}
        self.heard = 0
        self._positions = positions
        self._probes: Sequence[str] = ()
        # To ask Redis for, and who waits for which to be confirmed.
        self._wanted: list[str] = []
        self._wants = asyncio.Event()
        self._waiters: dict[str, asyncio.Event] = {}
        self._unconfirmed: set[str] = set()
        self._all_confirmed = asyncio.Event()

    def __iter__(self) -> Iterator[Stream]:
        return iter(self.by_name.values())

    @property
    def apart(self) -> list[Stream]:
        """Those whose ids are not of the shared clock."""
        return [stream for stream in self if stream.apart]

    def hear_up_to(self, position: int) -> None:
        """All streams of the shared clock have been heard, since its ids rise over all of them."""
        self.heard = max(self.heard, position)

    def rewind(self, position: int) -> None:
        """Ids went back to ``position``: nothing that follows joins what was heard."""
        self.heard = position
        for stream in self:
            stream.begin_anew()

    def of_user(self, audience: Audience) -> Stream:
        """The stream of one user; wanted from now on where it was not before."""
        stream = self.by_name.get(audience.stream)
        if stream is None:
            stream = self._new(audience.stream, audience)
            self.by_name[stream.name] = stream
            self._wanted.append(stream.name)
            self._wants.set()
        return stream

    async def confirmed(self, stream: Stream) -> None:
        """Return when Redis has confirmed a stream."""
        if not stream.confirmed:
            await self._waiters.setdefault(stream.name, asyncio.Event()).wait()

    def begin(self, probes: Sequence[str]) -> list[Stream]:
        """All streams to ask for on a new connection: nothing is left to want.

        Args:
            probes: its own probe streams.
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
        """The connection is lost: nothing is confirmed any more."""
        for stream in self:
            stream.confirmed = False

    async def wanted(self) -> list[Stream]:
        """Those joined since the last call, once there are some."""
        await self._wants.wait()
        self._wants.clear()
        wanted, self._wanted = self._wanted, []
        self._unconfirmed = set(wanted)
        self._all_confirmed.clear()
        return [self.by_name[name] for name in wanted]

    async def wanted_confirmed(self) -> None:
        """Return when Redis has confirmed all that `wanted` returned."""
        await self._all_confirmed.wait()

    def hear(self, name: str, probes_sent: int) -> None:
        """Redis has confirmed a stream."""
        self._unconfirmed.discard(name)
        if not self._unconfirmed:
            self._all_confirmed.set()
        stream = self.by_name.get(name)
        # Of one that is apart the pod has to find out first where it ended.
        if stream is not None and not stream.apart:
            self.confirm(stream, probes_sent)

    def confirm(self, stream: Stream, probes_sent: int) -> None:
        """The pod listens to a stream; let those in who wait for it."""
        stream.confirmed = True
        stream.confirmed_after = probes_sent
        waiter = self._waiters.pop(stream.name, None)
        if waiter is not None:
            waiter.set()

    def _new(self, name: str, audience: Audience | None) -> Stream:
        return Stream(name, audience, self._positions.is_apart(name))

    def prune(self, users: Collection[str], linger_seconds: float, now: float) -> list[str]:
        """Forget the streams of users who have had no socket here for a while; their names."""
        idle: list[str] = []
        for stream in self:
            if stream.audience is None or not stream.audience.named or not stream.confirmed:
                continue
            if stream.joining or stream.audience.user in users:
                stream.idle_since = None
            elif stream.idle_since is None:
                stream.idle_since = now
            elif now - stream.idle_since >= linger_seconds:
                idle.append(stream.name)
        for name in idle:
            del self.by_name[name]
        return idle
