"""A Redis in memory that behaves like publish.lua and history.lua: the same ids, floors and order.
The test sets the clock.

It is one Redis, or a cluster of three primaries. In a cluster, each bucket has its own clock. Each
primary has its own time and loses its own writes, and each of a subscriber's connections may lag
behind the others. tests/gateway/test_memory_bus.py compares both forms with the scripts themselves.
"""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from clarion_contract.bus.history import PAGE_MAX_BYTES, History
from clarion_contract.events.audience import Audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Event, Publication, parse_message
from clarion_contract.redis.keyspace import (
    BUCKET_NAMES,
    SHARED_BUCKET,
    bucket_of,
    pod_stream,
    shard_stream,
)
from clarion_contract.redis.subscriber import Message, Subscribed

MAX_AGE_MICROSECONDS = 600_000_000
_EPOCH_MICROSECONDS = 1_000_000_000_000
LEVEL_MICROSECONDS = 500_000
"""The difference of a cluster's clocks above which all clocks are raised."""
NODES = range(3)
"""The primaries of a cluster. The first holds the shared bucket; alice and bob lie on the others."""
# One bucket on each primary, through which it is probed.
_PROBED_BUCKETS = (SHARED_BUCKET, "0", "4")


def node_of(stream: str) -> int:
    """The primary of a cluster that holds a stream."""
    bucket = bucket_of(stream)
    return 0 if bucket == SHARED_BUCKET else 1 + int(bucket) // 4 % 2


def _id_end(bucket: str) -> int:
    """The lowest four bits of the ids of a bucket.

    The streams of alice, of bob, of dave, and of the topics a and k have ids of their own, so that
    tests can tell events by them. In Redis, two buckets may issue the same id.
    """
    return 0 if bucket == SHARED_BUCKET else 1 + 2 * ((int(bucket) + int(bucket) // 4) % 8)


@dataclass
class _Log:
    entries: list[tuple[int, bytes]] = field(default_factory=list)  # id, message
    ids: list[int] = field(default_factory=list)  # of all published events, also of trimmed ones
    # By id of an event without history: the newest event with one, or the floor, at that time.
    logged: dict[int, int] = field(default_factory=dict)

    @property
    def last(self) -> int | None:
        return self.ids[-1] if self.ids else None

    def logged_at(self, id_: int) -> int:
        return self.logged.get(id_, id_)


@dataclass
class _Clock:
    epoch: int | None = None
    issued: int = 0


@dataclass(frozen=True)
class FormerPrimary:
    """What a primary holds that hung when another one took its place."""

    node: int
    logs: Mapping[str, _Log]

    def holds(self, stream: str, id_: int) -> bool:
        """Whether its log of a stream has an event with an id."""
        return any(entry == id_ for entry, _ in self.logs.get(stream, _Log()).entries)


class MemoryBus:
    """Publishes, keeps logs, and notifies subscribers.

    Attributes:
        clustered: whether there are several primaries.
        now: microseconds since the epoch, as of Redis' TIME; each reading takes one.
        ahead: by primary, microseconds by which its time is ahead of ``now``.
        read_bytes: of data that was read from the logs.
    """

    def __init__(
        self, clock: Callable[[], float] = lambda: 0.0, *, clustered: bool = False
    ) -> None:
        self.clustered = clustered
        self.now = _EPOCH_MICROSECONDS
        self.ahead = [0 for _ in NODES]
        self._clock = clock
        self.down = False
        self.listeners: list[Callable[[Message], None]] = []
        self.probes: list[int] = []
        self.read_bytes = 0
        self._clocks: dict[str, _Clock] = defaultdict(_Clock)
        self._logs: dict[str, _Log] = {}

    @property
    def issued(self) -> int:
        """The newest id of the shared clock."""
        return self._clocks[SHARED_BUCKET].issued

    def node_of(self, stream: str) -> int:
        """The primary that holds a stream."""
        return node_of(stream) if self.clustered else 0

    async def begin(self) -> None:
        """As `clarion_contract.bus.clocks.BucketClocks.begin`."""
        await self._raise_all(0)

    async def level(self, streams: Sequence[str], shared_id: int) -> None:
        """As `clarion_contract.bus.clocks.BucketClocks.level`, with half a second allowed."""
        self._tick()
        moments = [shared_id, *(self._time(stream) for stream in streams)]
        if max(moments) - min(moments) > LEVEL_MICROSECONDS:
            await self._raise_all(max(moments))

    async def _raise_all(self, floor: int) -> None:
        self._check()
        self._tick()
        for bucket in BUCKET_NAMES:
            clock = self._clocks[bucket]
            if clock.epoch is None:
                clock.epoch = self._time(shard_stream(bucket, "")) - 1
            clock.issued = max(clock.issued, floor)

    def publish(self, publication: Publication) -> Event:
        """As publish.lua."""
        stream = publication.audience.stream
        message = self._publish(
            stream, publication.header, publication.data, history=publication.history
        )
        return parse_message(publication.audience, message)

    async def probe(self, streams: Sequence[str]) -> list[int]:
        """As `clarion_contract.bus.bus.Bus.probe`."""
        self._check()
        messages = [self._publish(stream, "clarion.probe - -", b"null") for stream in streams]
        ids = [int(message.partition(b" ")[0]) for message in messages]
        self.probes += ids
        return ids

    def believe(self, heard: Mapping[str, int]) -> None:
        """As `clarion_contract.bus.bus.Bus.believe`."""

    async def holds(self, stream: str, id_: int) -> bool:
        """As `clarion_contract.bus.bus.Bus.holds`."""
        self._check()
        log = self._logs.get(stream, _Log())
        return log.last == id_ or any(entry == id_ for entry, _ in log.entries)

    async def history(
        self,
        ranges: Sequence[tuple[Audience, int]],
        *,
        limit: int,
        broken_too: bool = False,
        max_bytes: int = PAGE_MAX_BYTES,
        former: FormerPrimary | None = None,
    ) -> list[History]:
        """As `clarion_contract.bus.bus.Bus.history`.

        Args:
            former: answers for the streams of its node.
        """
        self._check()
        share = max_bytes // max(len(ranges), 1)
        found = []
        for audience, since in ranges:
            is_former = former is not None and former.node == self.node_of(audience.stream)
            logs = former.logs if former is not None and is_former else self._logs
            found.append(self._read(logs, audience, since, limit, broken_too, share))
        return found

    async def newest(
        self,
        audiences: Sequence[Audience],
        *,
        limit: int,
        max_bytes: int = PAGE_MAX_BYTES,
        former: FormerPrimary | None = None,
    ) -> list[History]:
        """As `clarion_contract.bus.bus.Bus.newest`."""
        ranges = [(audience, 0) for audience in audiences]
        whole = await self.history(
            ranges, limit=1 << 30, broken_too=True, max_bytes=1 << 60, former=former
        )
        found = []
        for page in whole:
            events: list[Event] = []
            size_bytes = 0
            for event in reversed(page.events):
                if len(events) == limit or size_bytes >= max_bytes // max(len(audiences), 1):
                    break
                events.insert(0, event)
                size_bytes += len(event.data)
            stream = events[0].audience.stream if events else ""
            logs = former.logs if former and former.node == self.node_of(stream) else self._logs
            begin = logs[stream].logged_at(events[0].prev) if events else 0
            is_all = begin <= page.floor
            floor = page.floor if is_all else begin
            next_since = None if is_all else page.floor
            found.append(History(floor, page.last, begin, events, next_since))
        return found

    def replace_primary(self, node: int) -> FormerPrimary:
        """As a failover that loses nothing, from a primary that hangs and wakes up later."""
        logs = {name: log for name, log in self._logs.items() if self.node_of(name) == node}
        return FormerPrimary(node, copy.deepcopy(logs))

    def last_two(self, stream: str) -> list[int]:
        """Ids of the newest events of a stream's log."""
        return [id_ for id_, _ in self._logs.get(stream, _Log()).entries[-2:]]

    def knows(self, stream: str) -> bool:
        """Whether anything was published on a stream since the data set began."""
        return stream in self._logs

    def trim(self, stream: str, keep: int) -> None:
        """As XADD with MAXLEN."""
        log = self._logs[stream]
        del log.entries[: max(0, len(log.entries) - keep)]

    def forget_quiet_streams(self) -> None:
        """As PEXPIRE after two max ages without an event. The streams of probes always expire."""
        for stream in [name for name in self._logs if not name.startswith(("pod:", "shard:"))]:
            del self._logs[stream]

    def lose_everything(self, node: int | None = None) -> None:
        """As a restart of every primary, or of one, without persistence; it takes a while."""
        self.now += 1_000
        for stream in [name for name in self._logs if node in (None, self.node_of(name))]:
            del self._logs[stream]
        for bucket in list(self._clocks):
            if node in (None, self.node_of(shard_stream(bucket, ""))):
                del self._clocks[bucket]

    def lose_last(self, count: int, node: int = 0) -> set[int]:
        """As a failover to a replica without the last writes; returns their ids."""
        self.now += 1_000
        logs = [log for name, log in self._logs.items() if self.node_of(name) == node]
        ids = [id_ for log in logs for id_ in (*dict(log.entries), *log.logged)]
        newest = sorted(ids)[::-1][:count]
        for log in logs:
            log.entries = [entry for entry in log.entries if entry[0] not in newest]
            log.ids = [id_ for id_ in log.ids if id_ not in newest]
            for id_ in newest:
                log.logged.pop(id_, None)
        return set(newest)

    def publish_on_former_primary(self, audience: Audience) -> None:
        """As a primary that hung and was replaced, and whose successor has one event. It then runs
        the commands sent before, and notifies its subscribers. No log has its event."""
        entries = self._logs[audience.stream].entries
        self._tick()
        id_ = self._next_id(audience.stream)
        message = b"%d %d stale - -\nnull" % (id_, entries[-2][0])
        for listener in list(self.listeners):
            listener(Message(audience.stream, message))
        self._clock_of(audience.stream).issued = id_  # no other event has this id

    def _check(self) -> None:
        if self.down:
            raise BusUnavailable("down")

    def _tick(self) -> None:
        self.now = max(self.now + 1, _EPOCH_MICROSECONDS + int(self._clock() * 1e6))

    def _time(self, stream: str) -> int:
        """TIME of the primary that holds a stream."""
        return self.now + self.ahead[self.node_of(stream)]

    def _clock_of(self, stream: str) -> _Clock:
        clock = self._clocks[bucket_of(stream) if self.clustered else SHARED_BUCKET]
        if clock.epoch is None:
            clock.epoch = self._time(stream) - 1
        return clock

    def _next_id(self, stream: str) -> int:
        last = self._logs.get(stream, _Log()).last or 0
        id_ = max(self._time(stream), self._clock_of(stream).issued + 1, last + 1)
        if not self.clustered:
            return id_
        return id_ + (_id_end(bucket_of(stream)) - id_) % 16

    def _publish(self, stream: str, header: str, data: bytes, *, history: bool = True) -> bytes:
        self._tick()
        clock = self._clock_of(stream)
        assert clock.epoch is not None
        id_ = self._next_id(stream)
        log = self._logs.setdefault(stream, _Log())
        prev = told = log.last
        if prev is None or told is None:
            prev = self._floor(stream)
            told = prev if clock.epoch > self._time(stream) - 2 * MAX_AGE_MICROSECONDS else 0
        entry = b"%d %d %b\n%b" % (id_, prev, header.encode(), data)
        space = b"" if history else b" "
        message = b"%d %d %b\n%b%b" % (id_, told, header.encode(), space, data)
        clock.issued = id_
        log.ids.append(id_)
        if history:
            log.entries.append((id_, entry))
        else:
            log.logged[id_] = log.logged_at(prev)
        for listener in list(self.listeners):
            listener(Message(stream, message))
        return message

    def _read(
        self,
        logs: Mapping[str, _Log],
        audience: Audience,
        since: int,
        limit: int,
        broken_too: bool,
        max_bytes: int,
    ) -> History:
        log = logs.get(audience.stream, _Log())
        if log.entries:
            floor = log.logged_at(int(log.entries[0][1].split(b" ", 2)[1]))
        elif log.last is not None:
            floor = log.logged_at(log.last)
        else:
            self._tick()
            floor = self._floor(audience.stream)
        newer = [
            (id_, message)
            for id_, message in log.entries
            if id_ > since and (broken_too or since >= floor)
        ]
        page: list[Event] = []
        size_bytes = 0
        next_since = None
        for id_, message in newer:
            page.append(parse_message(audience, message))
            size_bytes += len(page[-1].data)
            if size_bytes >= max_bytes or len(page) == limit:
                next_since = id_
                break
        self.read_bytes += size_bytes
        logged = log.logged_at(page[0].prev if page else log.last or 0)
        return History(floor, log.last or 0, logged, page, next_since)

    def _floor(self, stream: str) -> int:
        epoch = self._clock_of(stream).epoch or 0
        return max(epoch, self._time(stream) - 2 * MAX_AGE_MICROSECONDS)


class MemorySubscriber:
    """The subscription of one pod to a `MemoryBus`: it can be cut, go deaf, stutter, or lag.

    On a cluster it has one connection to each primary; there is no order between connections.
    """

    def __init__(self, bus: MemoryBus, *, reachable: Callable[[], bool] = lambda: True) -> None:
        self.streams: set[str] = set()
        self.deaf = False
        self.stutters = False
        self.commands = 0
        self._bus = bus
        self._reachable = reachable
        self._cut = False
        self._items: deque[Message | Subscribed] = deque()
        # Messages that are still on their way, by the primary whose connection lags.
        self._late: dict[int, list[Message | Subscribed]] = {}
        self._arrived = asyncio.Event()

    async def connect(self) -> None:
        if not self._reachable():
            raise BusUnavailable("refused")
        self._bus.listeners.append(self._published)

    def probe_streams(self, pod: str) -> list[str]:
        if not self._bus.clustered:
            return [pod_stream(pod)]
        return [pod_stream(pod), *(shard_stream(name, pod) for name in _PROBED_BUCKETS[1:])]

    async def subscribe(self, streams: Iterable[str]) -> None:
        self._check()
        self.commands += 1
        for stream in streams:
            self.streams.add(stream)
            self._put(Subscribed(stream))

    async def unsubscribe(self, streams: Iterable[str]) -> None:
        """As UNSUBSCRIBE, which without names gives up all streams."""
        self._check()
        self.streams.difference_update(list(streams) or set(self.streams))

    async def receive(self) -> Message | Subscribed:
        while True:
            self._check()
            if self._items:
                return self._items.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    async def aclose(self) -> None:
        self.cut()

    def lag(self, node: int) -> None:
        """Delay everything that a primary sends from now on, until `arrive`."""
        self._late.setdefault(node, [])

    def arrive(self, node: int) -> None:
        """Let everything that a primary has sent arrive, in order."""
        for item in self._late.pop(node, []):
            self._put(item)

    def cut(self) -> None:
        """Lose the connection, and everything on its way."""
        self._cut = True
        self._items.clear()
        self._late.clear()
        self._arrived.set()
        if self._published in self._bus.listeners:
            self._bus.listeners.remove(self._published)

    def swallow(self) -> None:
        """Lose everything on its way, unnoticed. Redis itself never does this."""
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
        late = self._late.get(self._bus.node_of(item.stream))
        if late is not None:
            late.append(item)
        elif not self.deaf:
            self._items.append(item)
            self._arrived.set()
