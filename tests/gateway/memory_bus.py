"""Redis as publish.lua and history.lua see it, in memory: same ids, floors and order, a clock at
hand.

Held against the scripts themselves by tests/gateway/test_memory_bus.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from clarion_contract.bus.bus import History
from clarion_contract.events.audience import Audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Event, Publication, parse_message
from clarion_contract.redis.keyspace import pod_stream
from clarion_contract.redis.subscriber import Message, Subscribed

MAX_AGE_MICROSECONDS = 600_000_000
_EPOCH_MICROSECONDS = 1_000_000_000_000


@dataclass
class _Log:
    entries: list[tuple[int, bytes]] = field(default_factory=list)  # id, message
    last: int | None = None


class MemoryBus:
    """Publishes, remembers, and tells who listens.

    Attributes:
        now: microseconds since the epoch, as of Redis' TIME; every look at it takes one.
    """

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.now = _EPOCH_MICROSECONDS
        self._clock = clock
        self.down = False
        self.listeners: list[Callable[[Message], None]] = []
        self.probes: list[int] = []
        self.issued = 0
        self._epoch: int | None = None
        self._logs: dict[str, _Log] = {}

    def publish(self, publication: Publication) -> Event:
        """As publish.lua."""
        stream = publication.audience.stream
        message = self._publish(stream, publication.header, publication.data)
        return parse_message(publication.audience, message)

    async def probe(self, streams: Sequence[str]) -> list[int]:
        """As `clarion_contract.bus.bus.Bus.probe`."""
        self._check()
        messages = [self._publish(stream, "clarion.probe - -", b"null") for stream in streams]
        ids = [int(message.partition(b" ")[0]) for message in messages]
        self.probes += ids
        return ids

    async def holds(self, stream: str, id_: int) -> bool:
        """As `clarion_contract.bus.bus.Bus.holds`."""
        self._check()
        return any(entry == id_ for entry, _ in self._logs.get(stream, _Log()).entries)

    async def history(
        self, ranges: Sequence[tuple[Audience, int]], *, limit: int, broken_too: bool = False
    ) -> list[History]:
        """As `clarion_contract.bus.bus.Bus.history`."""
        self._check()
        return [self._read(audience, since, limit, broken_too) for audience, since in ranges]

    def knows(self, stream: str) -> bool:
        """Whether anything was published on a stream since the data set began."""
        return stream in self._logs

    def trim(self, stream: str, keep: int) -> None:
        """As XADD with MAXLEN."""
        log = self._logs[stream]
        del log.entries[: max(0, len(log.entries) - keep)]

    def forget_quiet_streams(self) -> None:
        """As PEXPIRE does when nothing was published for two max ages; probes always are."""
        for stream in [name for name in self._logs if not name.startswith("pod:")]:
            del self._logs[stream]

    def lose_everything(self) -> None:
        """As a restart without persistence; it takes a while."""
        self.now += 1_000
        self._logs.clear()
        self.issued, self._epoch = 0, None

    def lose_last(self, count: int) -> set[int]:
        """As a failover to a replica that had not got the last writes, whose ids are returned."""
        self.now += 1_000
        newest = sorted(id_ for log in self._logs.values() for id_, _ in log.entries)[::-1][:count]
        for log in self._logs.values():
            log.entries = [entry for entry in log.entries if entry[0] not in newest]
            if log.last in newest:
                log.last = log.entries[-1][0] if log.entries else None
        return set(newest)

    def _check(self) -> None:
        if self.down:
            raise BusUnavailable("down")

    def _tick(self) -> None:
        self.now = max(self.now + 1, _EPOCH_MICROSECONDS + int(self._clock() * 1e6))

    def _publish(self, stream: str, header: str, data: bytes) -> bytes:
        self._tick()
        if self._epoch is None:
            self._epoch = self.now - 1
        log = self._logs.setdefault(stream, _Log())
        id_ = max(self.now, self.issued + 1, (log.last or 0) + 1)
        prev = told = log.last
        if prev is None or told is None:
            prev = self._floor()
            told = prev if self._epoch > self.now - 2 * MAX_AGE_MICROSECONDS else 0
        entry = b"%d %d %b\n%b" % (id_, prev, header.encode(), data)
        message = b"%d %d %b\n%b" % (id_, told, header.encode(), data)
        self.issued = log.last = id_
        log.entries.append((id_, entry))
        for listener in list(self.listeners):
            listener(Message(stream, message))
        return message

    def _read(self, audience: Audience, since: int, limit: int, broken_too: bool) -> History:
        log = self._logs.get(audience.stream, _Log())
        if log.entries:
            floor = int(log.entries[0][1].split(b" ", 2)[1])
        elif log.last is not None:
            floor = log.last
        else:
            self._tick()
            if self._epoch is None:
                self._epoch = self.now - 1
            floor = self._floor()
        newer = [
            parse_message(audience, message)
            for id_, message in log.entries
            if id_ > since and (broken_too or since >= floor)
        ]
        return History(floor, log.last or 0, newer[:limit])

    def _floor(self) -> int:
        return max(self._epoch or 0, self.now - 2 * MAX_AGE_MICROSECONDS)


class MemorySubscriber:
    """The subscription connection of one pod to a `MemoryBus`: it can be cut, go deaf or stutter."""

    def __init__(self, bus: MemoryBus, *, reachable: Callable[[], bool] = lambda: True) -> None:
        self.streams: set[str] = set()
        self.deaf = False
        self.stutters = False
        self.commands = 0
        self._bus = bus
        self._reachable = reachable
        self._cut = False
        self._items: deque[Message | Subscribed] = deque()
        self._arrived = asyncio.Event()

    async def connect(self) -> None:
        if not self._reachable():
            raise BusUnavailable("refused")
        self._bus.listeners.append(self._published)

    def probe_streams(self, pod: str) -> list[str]:
        return [pod_stream(pod)]

    async def subscribe(self, streams: Iterable[str]) -> None:
        self._check()
        self.commands += 1
        for stream in streams:
            self.streams.add(stream)
            self._put(Subscribed(stream))

    async def unsubscribe(self, streams: Iterable[str]) -> None:
        self._check()
        self.streams.difference_update(streams)

    async def receive(self) -> Message | Subscribed:
        while True:
            self._check()
            if self._items:
                return self._items.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    async def aclose(self) -> None:
        self.cut()

    def cut(self) -> None:
        """The connection is lost, and with it what was on its way."""
        self._cut = True
        self._items.clear()
        self._arrived.set()
        if self._published in self._bus.listeners:
            self._bus.listeners.remove(self._published)

    def swallow(self) -> None:
        """What is on its way never arrives, and nobody notices: Redis itself does not do this."""
        self._items.clear()

    def _check(self) -> None:
        if self._cut:
            raise BusUnavailable("connection lost")

    def _published(self, message: Message) -> None:
        if message.stream in self.streams:
            self._put(message)
            if self.stutters:
                self._put(message)

    def _put(self, item: Message | Subscribed) -> None:
        if not self.deaf:
            self._items.append(item)
            self._arrived.set()
