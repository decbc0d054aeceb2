"""Tells clients who else receives their topics, where a topic's rule asks for it.

The hub reports topics whose members on this pod have changed. The pod writes its entry to Redis and
tells the other pods of the topic, by an event without history that no client gets. Each pod then
reads the entries of all pods, and tells its members of the topic what has changed: at most once a
second for each topic, by one message that all of them share.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import unquote

import structlog

from clarion_contract.bus.bus import Answer
from clarion_contract.bus.presence import PRESENCE_SECONDS, Pods
from clarion_contract.events.audience import topic_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Publication
from clarion_contract.events.topic_members import PRESENCE_CHANGED, TopicEntry, TopicMembers
from clarion_contract.events.topic_rules import TopicPresence as Rule
from clarion_contract.events.topic_rules import TopicRules
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery import rounds
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.wire.format import PresenceTold, WireFormat

# How long changes are gathered, as for users.
_GATHER_SECONDS: Final = 0.05
# The least time between two messages about one topic.
_INTERVAL_SECONDS: Final = 1.0
# Keeps the event loop busy for a few ms at most. More topics wait for the next step.
_TOPICS_PER_STEP: Final = 200
_RETRY_SECONDS: Final = 1.0
_PREFIX: Final = "topic:"

_log = structlog.get_logger(__name__)


class Register(Protocol):
    """The part of `clarion_contract.bus.topic_presence.TopicRegister` that the pod uses."""

    async def write(
        self, name: str, entries: Sequence[tuple[str, TopicEntry | None]]
    ) -> list[dict[str, TopicEntry]]:
        """See `clarion_contract.bus.topic_presence.TopicRegister.write`."""
        ...


Publish = Callable[[Sequence[Publication]], Awaitable[Sequence[Answer]]]


@dataclass(slots=True)
class _Topic:
    """A topic that has members here, or had some a moment ago.

    Attributes:
        entry: this pod's, as it was last written; None: there is none in Redis.
        written_at: when that was, in seconds of the monotonic clock.
        stale: whether it has to be written again, though it may not have changed.
        entries: of all pods, as they were last read.
        told: what the members here know; None: nothing yet.
        due: no message before this time of the monotonic clock.
        newcomers: members that have not been told anything.
    """

    name: str
    stream: str
    rule: Rule
    entry: TopicEntry | None = None
    written_at: float = 0.0
    stale: bool = False
    entries: Mapping[str, TopicEntry] = field(default_factory=dict)
    told: TopicMembers | None = None
    due: float = 0.0
    newcomers: list[Connection] = field(default_factory=list)


class TopicPresence:
    """The presence of the topics that have members here."""

    def __init__(
        self,
        register: Register,
        publish: Publish,
        hub: Hub,
        metrics: Metrics,
        rules: TopicRules,
        pods: Callable[[], Pods],
    ) -> None:
        """Set up.

        Args:
            publish: as `clarion_contract.bus.bus.Bus.publish`.
            pods: the pods as of the last heartbeat.
        """
        self._register = register
        self._publish = publish
        self._hub = hub
        self._metrics = metrics
        self._pods = pods
        self._seen = pods()
        self._topics: dict[str, _Topic] = {}
        self._pending: dict[str, None] = {}
        self._arrived = asyncio.Event()
        self._rule = lru_cache(maxsize=10_000)(
            lambda stream: rules.of(unquote(stream.removeprefix(_PREFIX))).presence
        )

    def members_changed(
        self, connection: Connection, changed: Collection[str], joined: Collection[str]
    ) -> None:
        """Note that a connection has joined or left streams; see `Hub.members_changed`."""
        for stream in changed:
            topic = self._watched(stream)
            if topic is not None:
                if stream in joined:
                    topic.newcomers.append(connection)
                self._wake(stream)

    def heard(self, stream: str) -> None:
        """Note that another pod's entry for a topic has changed."""
        if stream in self._topics:
            self._wake(stream)

    def renew(self) -> None:
        """Write and read everything anew: Redis was away, and may have lost entries."""
        for topic in self._topics.values():
            topic.stale = True
            self._wake(topic.stream)

    async def run(self) -> None:
        """Write changes and tell of them, for ever."""
        failing = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_SECONDS):
                    await self._arrived.wait()
            self._look_at_pods()
            try:
                await self._step(time.monotonic())
                failing = False
            except BusUnavailable as error:
                self._metrics.presence_writes.labels("failed").inc()
                if not failing:  # log the first failure only, not one a second
                    _log.warning("presence of topics not written", error=str(error))
                failing = True
                await asyncio.sleep(_RETRY_SECONDS)
            await asyncio.sleep(_GATHER_SECONDS)

    def _watched(self, stream: str) -> _Topic | None:
        topic = self._topics.get(stream)
        if topic is not None or not stream.startswith(_PREFIX):
            return topic
        rule = self._rule(stream)
        if rule is None:
            return None
        topic = _Topic(unquote(stream.removeprefix(_PREFIX)), stream, rule)
        self._topics[stream] = topic
        return topic

    def _wake(self, stream: str) -> None:
        self._pending[stream] = None
        self._arrived.set()

    def _look_at_pods(self) -> None:
        """Look at all topics again if pods have come or gone, or this one has another name."""
        pods, before = self._pods(), self._seen
        if pods.name is None or pods is before:
            return
        self._seen = pods
        renamed = pods.name != before.name
        gone = before.loads.keys() - pods.loads.keys()
        long_ago = time.monotonic() - PRESENCE_SECONDS / 2
        for topic in self._topics.values():
            if renamed or topic.written_at < long_ago:
                topic.stale = True
                self._wake(topic.stream)
            elif gone and not gone.isdisjoint(topic.entries):
                self._wake(topic.stream)

    async def _step(self, now: float) -> None:
        """Bring some topics up to date that are due."""
        name = self._seen.name
        ready = [stream for stream in self._pending if self._topics[stream].due <= now]
        ready = ready[:_TOPICS_PER_STEP]
        if name is None or not ready:
            self._arrived.clear()
            return
        for stream in ready:
            del self._pending[stream]
        topics = [self._topics[stream] for stream in ready]
        members = self._members(ready)
        try:
            await self._exchange(name, topics, members)
        except BaseException:
            for stream in ready:
                self._wake(stream)
            raise
        for topic in topics:
            await self._tell(topic, members[topic.stream])
            topic.due = now + _INTERVAL_SECONDS
            if topic.newcomers:  # they still catch up, or came while Redis was asked
                self._pending[topic.stream] = None
            elif topic.entry is None and topic.stream not in self._pending:
                del self._topics[topic.stream]

    def _members(self, streams: Collection[str]) -> Mapping[str, list[Connection]]:
        """The connections here that receive each stream."""
        found: dict[str, list[Connection]] = defaultdict(list)
        for group in self._hub.groups:
            for stream in streams:
                found[stream] += group.named.get(stream, ())
        for connection in self._hub.catching_up:
            for stream in connection.named_streams:
                if stream in streams:
                    found[stream].append(connection)
        return found

    async def _exchange(
        self, name: str, topics: Sequence[_Topic], members: Mapping[str, list[Connection]]
    ) -> None:
        """Write this pod's entries, read those of all pods, and tell the others of changes."""
        changed: list[_Topic] = []
        rest: list[_Topic] = []
        for topic in topics:
            entry = _entry(members[topic.stream], topic.rule)
            if topic.stale or entry != topic.entry:
                topic.entry, topic.stale = entry, True  # until the others are told
                changed.append(topic)
            else:
                rest.append(topic)
        if changed:
            await self._store(name, [(topic, topic.entry) for topic in changed])
            await self._notify(changed)
            self._metrics.presence_writes.labels("written").inc()
        if rest:
            await self._store("", [(topic, None) for topic in rest])
        await self._forget_gone(topics)

    async def _store(self, name: str, entries: Sequence[tuple[_Topic, TopicEntry | None]]) -> None:
        found = await self._register.write(name, [(topic.name, entry) for topic, entry in entries])
        for (topic, _), all_entries in zip(entries, found, strict=True):
            topic.entries = all_entries
            if name:
                topic.written_at = time.monotonic()

    async def _notify(self, topics: Sequence[_Topic]) -> None:
        """Tell the other pods that this pod's entries have changed."""
        answers = await self._publish(
            [
                Publication(topic_audience(topic.name), PRESENCE_CHANGED, b"null", history=False)
                for topic in topics
            ]
        )
        for topic, answer in zip(topics, answers, strict=True):
            if isinstance(answer, BusUnavailable):
                raise answer
            topic.stale = False

    async def _forget_gone(self, topics: Sequence[_Topic]) -> None:
        """Remove the entries of pods that are gone for good."""
        gone: dict[str, list[tuple[str, None]]] = defaultdict(list)
        for topic in topics:
            for pod in topic.entries:
                if self._seen.is_gone(pod):
                    gone[pod].append((topic.name, None))
        for pod, entries in gone.items():
            await self._register.write(pod, entries)

    async def _tell(self, topic: _Topic, members: Sequence[Connection]) -> None:
        """Tell the members of a topic what has changed, and newcomers everything."""
        now = TopicMembers.of(
            (entry for pod, entry in topic.entries.items() if not self._seen.is_gone(pod)),
            topic.rule.max_members,
        )
        newcomers = {each for each in topic.newcomers if each.state is not State.CLOSED}
        live = [each for each in members if each.state is State.LIVE]
        before, topic.told = topic.told, now
        change = PresenceTold.between(topic.name, before, now)
        everything = PresenceTold.everything(topic.name, now)
        new = {each for each in live if each in newcomers}
        topic.newcomers = [each for each in newcomers - new if topic.stream in each.named_streams]
        if change is not None:
            await self._write(change, [each for each in live if each not in newcomers])
        await self._write(everything, list(new))

    async def _write(self, told: PresenceTold, connections: Sequence[Connection]) -> None:
        by_format: dict[WireFormat, list[Connection]] = defaultdict(list)
        for connection in connections:
            by_format[connection.format].append(connection)
        self._metrics.topic_presence.inc(len(connections))
        await rounds.write(
            [(form.presence(told), receivers) for form, receivers in by_format.items()],
            self._hub.outbound,
        )


def _entry(members: Sequence[Connection], rule: Rule) -> TopicEntry | None:
    """The members of a topic on this pod; None: it has none."""
    if not members:
        return None
    users = {each.user for each in members if each.user is not None}
    named = tuple(sorted(users)) if len(users) <= rule.max_members else None
    return TopicEntry(len(members), len(users), named)
