"""Random sequences: nothing is lost, doubled, out of order, or leaked to another user.

Two pods share one bus in memory, which behaves like publish.lua and history.lua. Each pod has
`Hub`, `Ring`, `Delivery`, `Replay`, `Admission` and `Subscription` as in production. Anonymous
clients, alice and bob connect, leave, resume on either pod, log in and out. Events go to every
audience. The pods lose their connections and Redis. Hypothesis decides what happens, and after how
many steps of the event loop the next thing happens.

Each connection's events are compared with those it is due: the events of its identity's audiences
after its welcome's position. It must always have a prefix of them, in order, and all of them once
everything works again. If some are missing, it must have been told so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from opentelemetry.sdk.trace import TracerProvider

from clarion_contract.bus.history import PAGE_MAX_BYTES, History
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, topic_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Event, Publication
from clarion_contract.identity.claims import Claims
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.bus.subscription import Subscription
from clarion_gateway.clients.admission import Admission
from clarion_gateway.clients.grants import Grants
from clarion_gateway.clients.identification import Identification
from clarion_gateway.clients.identity_changes import IdentityChanges
from clarion_gateway.clients.memberships import Memberships
from clarion_gateway.clients.opening import Opening
from clarion_gateway.clients.plain_handshakes import PlainHandshakes
from clarion_gateway.clients.recall import Recall
from clarion_gateway.clients.remembered_topics import RememberedTopics
from clarion_gateway.clients.resumption import Resumption, tell_gap
from clarion_gateway.clients.revocations import Revocations
from clarion_gateway.clients.topics import Topics
from clarion_gateway.clients.user_limits import UserLimits
from clarion_gateway.clients.welcoming import Welcoming
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import State, discard
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.keepalive import Sweeper
from clarion_gateway.delivery import rounds as delivery
from clarion_gateway.delivery.replay import Replay
from clarion_gateway.delivery.replay_room import ReplayRoom
from clarion_gateway.delivery.ring import Ring
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.delivery.topic_rings import TopicRings
from clarion_gateway.delivery.tracing import FanoutTracer
from clarion_gateway.wire.messages import Subscribe, Unsubscribe
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.memory_bus import FormerPrimary, MemoryBus, MemorySubscriber
from tests.gateway.memory_orders import MemoryOrders
from tests.gateway.memory_topics import MemoryTopics
from tests.gateway.recorder import AUDIENCES as SOME_AUDIENCES
from tests.gateway.recorder import Recorder, messages_of, metrics
from tests.gateway.recorder import settings as gateway_settings

TOPICS = ("a", "k")
"""Most clients ask for both of them when they connect, and may give them up and ask again. A user's
token lists one, and lets bob ask for the other. Dave's lists none, and she asks for none, nor does
every second anonymous client: they are admitted together with others.
"""
LISTED: dict[str | None, set[str]] = {None: set(), "alice": {"a"}, "bob": {"k"}, "dave": set()}
MAY_ASK_FOR: dict[str | None, set[str]] = {
    None: set(),
    "alice": set(),
    "bob": {"a"},
    "dave": set(),
}
AUDIENCES = (*SOME_AUDIENCES, Audience("user", "dave"), *map(topic_audience, TOPICS))
USERS = st.sampled_from([None, "alice", "bob", "dave"])
PODS = st.integers(0, 1)
TURNS = st.sampled_from([None, None, None, 0, 1, 2, 3, 5, 8, 13])
"""Steps of the event loop before the next thing happens; None: until all is quiet."""


@dataclass(frozen=True)
class Fleeting:
    """An event without history."""

    audience: Audience


EVENTS: list[Audience | Fleeting] = [*AUDIENCES, *AUDIENCES, *map(Fleeting, AUDIENCES)]
FEW = st.lists(st.sampled_from(EVENTS), max_size=3)
SOME = st.lists(st.sampled_from(EVENTS), min_size=1, max_size=5)
AT_ONCE_BYTES = 1_000
"""A client that missed more than two events is waited for."""
EVENTS_PER_PAGE = 2
"""A log is read in more than one page as soon as it holds a few events."""
RINGS_MAX_BYTES = 50_000
"""A topic's ring has room for some ten events."""
TRACER = FanoutTracer(TracerProvider().get_tracer("test"), "pod-test")


class Verifier:
    """A token is its user's name."""

    async def verify_fetching(self, token: str) -> Claims:
        return self.verify(token)

    def verify(self, token: str) -> Claims:
        lists = {"topics": tuple(LISTED[token]), "subscribe": tuple(MAY_ASK_FOR[token])}
        return Claims(token, frozenset(), 1e12, lists=lists)


class Pod:
    """A gateway without sockets."""

    def __init__(self, name: str, bus: MemoryBus, loop: ClockworkLoop, **overrides: Any) -> None:
        self.bus = bus
        self.reachable = True
        self.subscriber: MemorySubscriber | None = None
        self.stutters = False
        self.believed: dict[str, int] = {}
        self.former: FormerPrimary | None = None
        self.former_reads = 0  # that it still answers
        self.unaware_of: set[int] = set()  # events that nobody can know were lost
        settings = gateway_settings(
            pod=name, handshake_seconds=10, max_connections_per_user=3, **overrides
        )
        of = metrics()
        self.positions = settings.positions
        self.hub = Hub()
        self.ring = Ring(1 << 20, segment_bytes=1_000)
        room = ReplayRoom(max_bytes=1 << 20, wait_seconds=5, clock=loop.time)
        rings = TopicRings(
            self,
            max_bytes=RINGS_MAX_BYTES,
            max_events=1_000,
            max_age_seconds=600,
            position=lambda: self.delivery.position,
        )
        self.delivery = Delivery(
            self.hub,
            self.ring,
            of,
            TRACER,
            pending_max_events=1_000,
            held_max_events=1_000,
            unsent_max_bytes=settings.max_unsent_bytes,
            positions=settings.positions,
            topic_rings=rings,
        )
        self.subscription = Subscription(
            self,
            self.delivery,
            self.ring,
            of,
            settings,
            connect=self._connect,
            tell_gap=partial(tell_gap, self.hub),
            clocks=bus if bus.clustered else None,
            clock=loop.time,
        )
        recall = Recall(
            rings,
            self.subscription,
            self.delivery,
            room,
            max_events=1_000,
            max_bytes=1 << 20,
            positions=settings.positions,
        )
        self.grants = Grants(Handlers(), self, of, pod=name, seconds=1)  # type: ignore[arg-type]
        identification = Identification(Verifier(), Revocations(MemoryOrders(), self.hub, of), of)
        sweeper = Sweeper(ping_interval_seconds=25, token_grace_seconds=30)
        users = UserLimits(self.hub, settings)
        topics = Topics(of, max_per_connection=settings.max_topics_per_connection)
        self.identities = IdentityChanges(
            self.hub,
            self.subscription,
            identification,
            users,
            topics,
            self.grants,
            recall,
            sweeper,
            of,
            wait_seconds=settings.handshake_seconds,
        )
        resumption = Resumption(
            self.hub,
            self.subscription,
            self.delivery,
            Replay(
                self,
                self.ring,
                of,
                room,
                max_events=1_000,
                max_bytes=1 << 20,
                positions=settings.positions,
                topic_rings=rings,
            ),
            settings.positions,
            at_once_bytes=AT_ONCE_BYTES,
        )
        self.admission = Admission(
            self.hub,
            self.subscription,
            Welcoming(self.hub, self.delivery, resumption, recall, of, settings),
            identification,
            of,
            settings,
            users=users,
            topics=topics,
            grants=self.grants,
            sweeper=sweeper,
        )
        self.plain = PlainHandshakes(
            self.admission,
            self.subscription,
            lambda _, job: loop.create_task(job),
            seconds=settings.handshake_seconds,
            welcomed=lambda _: None,
        )
        self.memberships = Memberships(
            self.hub,
            self.subscription,
            self.delivery,
            topics,
            self.grants,
            recall,
            RememberedTopics(MemoryTopics(), self.hub, lambda *_: False, seconds=600),
            of,
            wait_seconds=10,
        )
        loop.create_task(self.delivery.run())
        loop.create_task(self.subscription.run())

    async def history(
        self,
        ranges: Sequence[tuple[Audience, int]],
        *,
        limit: int,
        broken_too: bool = False,
        max_bytes: int = PAGE_MAX_BYTES,
    ) -> list[History]:
        await self._round_trip()
        answer = await self.bus.history(
            ranges,
            limit=min(limit, EVENTS_PER_PAGE),
            broken_too=broken_too,
            max_bytes=max_bytes,
            former=self._answering(),
        )
        await self._round_trip()
        return answer

    async def newest(
        self, audiences: Sequence[Audience], *, limit: int, max_bytes: int = PAGE_MAX_BYTES
    ) -> list[History]:
        await self._round_trip()
        answer = await self.bus.newest(
            audiences, limit=limit, max_bytes=max_bytes, former=self._answering()
        )
        await self._round_trip()
        return answer

    async def probe(self, streams: Sequence[str]) -> list[int]:
        await self._round_trip()
        ids = await self.bus.probe(streams)
        await self._round_trip()
        return ids

    def believe(self, heard: Mapping[str, int]) -> None:
        """As `clarion_contract.bus.bus.Bus.believe`."""
        self.believed = dict(heard)

    async def holds(self, stream: str, id_: int) -> bool:
        await self._round_trip()
        return await self.bus.holds(stream, id_)

    def has_heard_one_of(self, ids: set[int]) -> bool:
        """Whether the log must have had one of them. Later events may cover those without history."""
        return any(stream.logged in ids for stream in self.subscription._streams)

    def sever(self) -> None:
        if self.subscriber is not None:
            self.subscriber.cut()

    def _answering(self) -> FormerPrimary | None:
        """The former primary that answers the next read; None: the present one does."""
        former = self.former
        if former is None or not self.former_reads:
            return None
        self.former_reads -= 1
        for stream, id_ in self.believed.items():
            if self.bus.node_of(stream) == former.node and not former.holds(stream, id_):
                raise BusUnavailable("a former primary")
        return former

    async def _round_trip(self) -> None:
        await asyncio.sleep(0)
        if not self.reachable:
            raise BusUnavailable("unreachable")

    def _connect(self) -> MemorySubscriber:
        self.subscriber = MemorySubscriber(self.bus, reachable=lambda: self.reachable)
        self.subscriber.stutters = self.stutters
        return self.subscriber


@dataclass(frozen=True)
class Recalled:
    """What a client was told of the past when it subscribed.

    Attributes:
        wish: ``last`` or ``since``, as it asked.
        position: of the answer.
        issued: the newest id at that moment.
        topics: those whose past it was told.
        ids: of the events.
    """

    wish: dict[str, Any]
    position: int
    issued: int
    topics: set[str]
    ids: list[int]

    @classmethod
    def of(cls, message: dict[str, Any], wish: dict[str, Any], issued: int) -> Recalled:
        told = {*message["topics"]} - {*message.get("not_resumed", ())}
        ids = [int(event["id"]) for event in message["events"]]
        assert {event["topic"] for event in message["events"]} <= told
        return cls(wish, int(message["id"]), issued, told, ids)


@dataclass(frozen=True)
class Identity:
    """A connection's identity from a position on.

    Attributes:
        issued: the newest id when the identity began. The user's events up to here were published
            before, perhaps before the pod subscribed to them: they may come or not.
        topics: those that it hears, each with an id up to which the same holds for its events.
    """

    position: int
    user: str | None
    issued: int
    topics: dict[str, int] = field(default_factory=dict)


class Client(Recorder):
    """One connection, with the events it received, and its identities over time."""

    __slots__ = (
        "asks",
        "at_work",
        "gaps",
        "heard",
        "identities",
        "kept",
        "not_resumed",
        "pod",
        "recalled",
        "resumes",
        "start",
        "subscribed",
        "wish",
    )

    def __init__(self, pod: Pod, resumes: str | None, asks: tuple[str, ...]) -> None:
        super().__init__()
        self.pod = pod
        self.asks = asks
        self.resumes = resumes
        self.write = self._hear
        self.start: int | None = None  # of what it is due
        self.identities: list[Identity] = []
        self.heard: list[int] = []
        self.gaps: list[int] = []
        # The message that is being handled. An inbox handles one at a time.
        self.at_work: asyncio.Task[None] | None = None
        self.subscribed: list[int] = []  # the positions of the answers
        self.recalled: list[Recalled] = []
        self.wish: dict[str, Any] = {}  # what the message at work asks for of the past
        self.kept: set[str] = set()  # the topics that it asked for and may still hear
        self.not_resumed: list[str] = []

    def close(self, close: Close, *, message: bytes = b"") -> None:
        super().close(close, message=message)
        self.pod.hub.remove(self)

    @property
    def position(self) -> int | None:
        """The position that a real client would send to resume: the last id that it was told."""
        positions = [self.start, *self.heard[-1:], *self.gaps[-1:], *self.subscribed[-1:]]
        return max((position for position in positions if position is not None), default=None)

    def identity_at(self, id_: int) -> Identity:
        return [identity for identity in self.identities if identity.position < id_][-1]

    def is_due(self, event: Event) -> bool:
        if self.start is None or event.id <= self.start:
            return False
        if event.exclude == self.id:
            return False
        if (
            event.exclude is not None
            and event.exclude == self.resumes
            and event.id not in self.heard
        ):
            return False  # it excluded the former connection: it may come, but is not due
        identity = self.identity_at(event.id)
        if event.audience == ALL:
            return True
        if event.audience == AUTHENTICATED:
            return identity.user is not None
        if event.audience.kind == "topic":
            issued = identity.topics.get(event.audience.name)
            return issued is not None and (event.id > issued or event.id in self.heard)
        if event.id <= identity.issued and event.id not in self.heard:
            return False
        return identity.user == event.audience.user

    def _hear(self, data: bytes) -> None:
        for message in messages_of(data):
            kind = message["kind"]
            if kind == "event":
                assert self.start is not None, "an event before welcome"
                assert int(message["id"]) > max(self.gaps, default=0), "an event before a gap"
                assert int(message["id"]) > self.identities[-1].position, "of another identity"
                self.check_not_told(int(message["id"]))
                self.heard.append(int(message["id"]))
            elif kind == "welcome":
                assert self.start is None, "welcomed twice"
                self.start = int(message["id"])
                issued = 0
                if message["resumed"] is not True:
                    assert self.start == self.pod.delivery.position
                    issued = self.pod.bus.issued
                user = message["user"]
                self.kept = LISTED[user] | MAY_ASK_FOR[user]
                self.not_resumed = message.get("not_resumed", [])
                topics = dict.fromkeys(self.kept, issued)
                topics |= dict.fromkeys(self.not_resumed, self.pod.bus.issued)
                assert set(message.get("topics", ())) == set(topics)
                assert set(message.get("forbidden", ())) == {*self.asks} - {*topics}
                self.identities.append(Identity(self.start, user, issued, topics))
            elif kind == "identity":
                position, issued = self.pod.delivery.position, self.pod.bus.issued
                user, before = message["user"], self.identities[-1].topics
                self.kept &= LISTED[user] | MAY_ASK_FOR[user]
                topics = {name: before.get(name, issued) for name in LISTED[user] | self.kept}
                assert set(message.get("topics", ())) == set(topics)
                self.identities.append(Identity(position, user, issued, topics))
            elif kind in {"subscribed", "unsubscribed"}:
                self._change_topics(message)
            elif kind == "gap":
                assert int(message["id"]) >= (self.position or 0), "a gap takes the client back"
                self.gaps.append(int(message["id"]))

    def check_not_told(self, id_: int) -> None:
        """An event comes live, or is told as the past, but not both."""
        assert all(id_ not in recalled.ids for recalled in self.recalled), "told of before"

    def _change_topics(self, message: dict[str, Any]) -> None:
        before, position = self.identities[-1], self.pod.delivery.position
        user, named = before.user, set(message["topics"])
        if message["kind"] == "subscribed":
            assert int(message["id"]) == position >= (self.position or 0)
            assert named == {*TOPICS} & (LISTED[user] | MAY_ASK_FOR[user])
            self.subscribed.append(position)
            self.kept |= named
            if self.wish:
                self.recalled.append(Recalled.of(message, self.wish, self.pod.bus.issued))
            topics = dict.fromkeys(named, position) | before.topics
        else:
            assert set(message.get("kept", ())) == LISTED[user]
            self.kept = set()
            topics = {name: since for name, since in before.topics.items() if name not in named}
        self.identities.append(Identity(position, user, before.issued, topics))


@dataclass(repr=False)
class Person:
    """A client over its connections, with everything that it received."""

    connection: Client
    user: str | None
    position: int | None = None
    last_id: str | None = None

    def __repr__(self) -> str:
        """The text that Hypothesis shows for a failing example."""
        return f"<{self.user} on {self.connection.id} at {self.position}>"


@dataclass
class Opened:
    """A resume: its position, and its connection."""

    client: Client
    since: int


class Gateways(RuleBasedStateMachine):
    """Two pods on one Redis; see `tests.gateway.test_cluster_state_machine` for a cluster."""

    def __init__(self, *, clustered: bool = False, **overrides: Any) -> None:
        super().__init__()
        self.loop = ClockworkLoop()
        asyncio.set_event_loop(self.loop)
        self.bus = MemoryBus(self.loop.time, clustered=clustered)
        self.pods = [Pod(f"pod-{number}", self.bus, self.loop, **overrides) for number in range(2)]
        self.log: list[Event] = []
        self.people: list[Person] = []
        self.connections: list[Client] = []
        self.resumed: list[Opened] = []
        self.history_from = 0  # before this, history may not be whole any more
        self.gone: set[int] = set()  # events that Redis has lost
        self.fleeting: set[int] = set()  # events without history
        self.loop.advance(1)

    # what happens

    @initialize(first=st.lists(st.tuples(PODS, USERS), min_size=2, max_size=4))
    def begin(self, first: list[tuple[int, str | None]]) -> None:
        for pod, user in first:
            self.connect(pod, user, None)

    @rule(pod=PODS, user=USERS, then=TURNS)
    def connect(self, pod: int, user: str | None, then: int | None) -> None:
        self.people.append(Person(self._open(self.pods[pod], user, None, None), user))
        self._run(then)

    @rule(audiences=SOME, data=st.data(), then=TURNS)
    def publish(
        self, audiences: list[Audience | Fleeting], data: st.DataObject, then: int | None
    ) -> None:
        ids = [person.connection.id for person in self.people]
        exclude = data.draw(st.none() | st.sampled_from(ids))
        self._publish(audiences, exclude)
        self._run(then)

    @rule(data=st.data(), then=TURNS)
    def disconnect(self, data: st.DataObject, then: int | None) -> None:
        self._leave(data.draw(st.sampled_from(self.people)))
        self._run(then)

    @rule(
        data=st.data(),
        pod=PODS,
        missed=FEW,
        trimmed=st.sampled_from([None, None, None, *AUDIENCES]),
        away=TURNS,
        stalls=st.booleans(),
        arriving=TURNS,
        meanwhile=FEW,
        then=TURNS,
    )
    def come_back(
        self,
        data: st.DataObject,
        pod: int,
        missed: list[Audience | Fleeting],
        trimmed: Audience | None,
        away: int | None,
        stalls: bool,
        arriving: int | None,
        meanwhile: list[Audience | Fleeting],
        then: int | None,
    ) -> None:
        """Leave, miss something, resume; more happens while the client catches up."""
        person = data.draw(st.sampled_from(self.people))
        self._leave(person)
        self._publish(missed)
        if trimmed is not None:
            self._trim(trimmed, 1)
        self._run(away)
        client = self._open(self.pods[pod], person.user, person.position, person.last_id)
        if stalls:
            client.taking.clear()
        person.connection = client
        self._run(arriving)
        self._publish(meanwhile)
        self._run(then)

    @rule(data=st.data(), user=USERS, before=FEW, mid_round=TURNS, after=FEW, then=TURNS)
    def log_in_or_out(
        self,
        data: st.DataObject,
        user: str | None,
        before: list[Audience | Fleeting],
        mid_round: int | None,
        after: list[Audience | Fleeting],
        then: int | None,
    ) -> None:
        self._publish(before)
        self._run(mid_round)
        client = data.draw(st.sampled_from(self.people)).connection
        if self._may_speak(client):
            work = client.pod.identities.authenticate(client, user, b"1")
            client.at_work = self.loop.create_task(work)
        self._publish(after)
        self._run(then)

    @rule(
        data=st.data(),
        what=st.sampled_from(["gives up", "now", "last", "last", "since", "future"]),
        before=FEW,
        mid_round=TURNS,
        after=FEW,
        then=TURNS,
    )
    def subscribe_or_unsubscribe(
        self,
        data: st.DataObject,
        what: str,
        before: list[Audience],
        mid_round: int | None,
        after: list[Audience],
        then: int | None,
    ) -> None:
        self._publish(before)
        self._run(mid_round)
        client = data.draw(st.sampled_from(self.people)).connection
        if self._may_speak(client):
            memberships = client.pod.memberships
            positions = {"since": client.position, "future": self.bus.now + 1_000_000_000}
            client.wish = {"last": {"last": data.draw(st.integers(1, 4))}}.get(what, {})
            if what in positions:
                client.wish = {"since": str(positions[what])}
            work = (
                memberships.unsubscribe(client, Unsubscribe(TOPICS, b"1"))
                if what == "gives up"
                else memberships.subscribe(client, Subscribe(TOPICS, b"1", **client.wish))
            )
            client.at_work = self.loop.create_task(work)
        self._publish(after)
        self._run(then)

    @staticmethod
    def _may_speak(client: Client) -> bool:
        """An inbox begins when the client is live, and handles one message at a time."""
        return client.state is State.LIVE and (client.at_work is None or client.at_work.done())

    @rule(
        pod=PODS,
        down=st.sampled_from([0.0, 0.0, 0.3, 20.0]),
        during=FEW,
        back_after=st.sampled_from([0.05, 0.1]),
        turns=st.integers(0, 20),
        back=FEW,
        then=TURNS,
    )
    def lose_the_bus(
        self,
        pod: int,
        down: float,
        during: list[Audience | Fleeting],
        back_after: float,
        turns: int,
        back: list[Audience | Fleeting],
        then: int | None,
    ) -> None:
        """Lose only the connection, or Redis for a time; more happens as the pod comes back."""
        if down:
            self.pods[pod].reachable = False
            self.loop.call_later(down, setattr, self.pods[pod], "reachable", True)
        self.pods[pod].sever()
        self._publish(during)

        async def publish_as_it_comes_back() -> None:
            await asyncio.sleep(back_after)  # as long as the subscription does
            for audience in back:
                for _ in range(turns):
                    await asyncio.sleep(0)
                self._publish([audience])

        self.loop.create_task(publish_as_it_comes_back())
        self._run(then)

    @rule(
        how=st.sampled_from(["trim", "empty", "failover"]),
        audience=st.sampled_from(AUDIENCES),
        count=st.integers(0, 3),
        unnoticed=FEW,
        then=TURNS,
    )
    def redis_suffers(
        self,
        how: str,
        audience: Audience,
        count: int,
        unnoticed: list[Audience | Fleeting],
        then: int | None,
    ) -> None:
        """A log is trimmed, Redis restarts empty, or a replica that was behind takes over."""
        if how == "trim":
            self._trim(audience, count)
        else:
            for pod in self.pods:
                pod.sever()
            self._publish(unnoticed)
            node = self.bus.node_of(audience.stream)
            if how == "empty":
                self.bus.lose_everything(node)
                on_it = [e for e in self.log if self.bus.node_of(e.audience.stream) == node]
                self._lost(on_it)
            else:
                lost = self.bus.lose_last(count, node)
                self._lost([event for event in self.log if event.id in lost])
                for pod in self.pods:
                    if not pod.has_heard_one_of(lost):
                        pod.unaware_of |= lost
            self.history_from = self.bus.now
        self._run(then)

    @rule(
        pod=PODS,
        audience=st.sampled_from(AUDIENCES),
        reads=st.integers(1, 4),
        unnoticed=FEW,
        then=TURNS,
    )
    def a_primary_hangs(
        self,
        pod: int,
        audience: Audience,
        reads: int,
        unnoticed: list[Audience | Fleeting],
        then: int | None,
    ) -> None:
        """Another one replaces it. It wakes up, and answers one pod on connections still open."""
        self.pods[pod].former = self.bus.replace_primary(self.bus.node_of(audience.stream))
        self.pods[pod].former_reads = reads
        for each in self.pods:
            each.sever()
        self._publish(unnoticed)
        self._run(then)

    @rule(pod=PODS, stutters=st.booleans())
    def stutter(self, pod: int, stutters: bool) -> None:
        """Every message comes twice, or this ends."""
        self.pods[pod].stutters = stutters
        subscriber = self.pods[pod].subscriber
        if subscriber is not None:
            subscriber.stutters = stutters

    @rule(pod=PODS)
    def prune(self, pod: int) -> None:
        subscription, hub = self.pods[pod].subscription, self.pods[pod].hub
        self.loop.create_task(subscription.prune(hub.named_streams, 0.5))
        # Before a failover that may follow: what the pod then remembers shows what it must tell.
        self.loop.run(1)

    @rule(seconds=st.sampled_from([0.1, 0.1, 1.0, 4.0, 11.0]), stalled=st.booleans())
    def wait(self, seconds: float, stalled: bool) -> None:
        """A client stalls for less than half a minute, or is closed as a slow consumer."""
        if not stalled:
            self._take_all()
        self.loop.advance(seconds)

    @rule()
    def everything_works_again(self) -> None:
        self._take_all()
        self.loop.advance(50)
        self._check_all_is_there()

    # what must hold

    @invariant()
    def nobody_hears_anything_but_what_he_is_due_in_order(self) -> None:
        for client in self.connections:
            due = [event.id for event in self.log if client.is_due(event)]
            heard = client.heard
            optional = self.gone | self.fleeting
            due = [id_ for id_ in due if id_ not in optional or id_ in heard]
            assert heard == due[: len(heard)]

    @invariant()
    def the_past_that_was_told_has_no_hole(self) -> None:
        for client in self.connections:
            for recalled in client.recalled:
                self._check_recalled(client, recalled)

    def _check_recalled(self, client: Client, recalled: Recalled) -> None:
        assert recalled.ids == sorted(recalled.ids)
        assert all(id_ <= recalled.position for id_ in recalled.ids)
        assert {*recalled.ids} <= {event.id for event in self.log if event.history}
        for topic in recalled.topics:
            ids = [
                event.id
                for event in self.log
                if event.audience == topic_audience(topic)
                and event.history
                and event.id <= recalled.issued
                and event.exclude != client.id
            ]
            last = recalled.wish.get("last", len(ids))
            since = int(recalled.wish.get("since", 0))
            # Of the last events, those above the position come live.
            newest = {id_ for id_ in ids[-last:] if since < id_ <= recalled.position}
            assert newest - self.gone - client.pod.unaware_of <= set(recalled.ids)
            if not self.gone:
                before = [id_ for id_ in ids if since < id_ <= recalled.position]
                assert {*ids} & {*recalled.ids} <= {*before[-last:]}

    @invariant()
    def the_hubs_hold_exactly_the_open_connections(self) -> None:
        for pod in self.pods:
            grouped = [connection for group in pod.hub.groups for connection in group.members]
            assert len(grouped) == len(set(grouped))
            known = set(pod.hub.connections)
            assert set(grouped) | set(pod.hub.catching_up) == known
            assert all(connection.state is not State.CLOSED for connection in known)

    def teardown(self) -> None:
        try:
            self.everything_works_again()
            for person in self.people:
                self._leave(person)
            assert [len(pod.hub) for pod in self.pods] == [0, 0]
        finally:
            self.loop.finish()
            asyncio.set_event_loop(None)

    # how

    def _open(self, pod: Pod, user: str | None, since: int | None, resumes: str | None) -> Client:
        asks = TOPICS if user in {"alice", "bob"} or (user is None and self._is_even()) else ()
        client = self._client(pod, resumes, asks)
        client.id = f"c-{len(self.connections)}"
        self.connections.append(client)
        if since is not None:
            self.resumed.append(Opened(client, since))
        pod.admission.begin()
        opening = Opening(user, None if since is None else str(since), resumes, topics=asks)
        self.loop.call_soon(self._admit, client, opening)
        return client

    def _is_even(self) -> bool:
        return not len(self.connections) % 2

    def _client(self, pod: Pod, resumes: str | None, asks: tuple[str, ...]) -> Client:
        return Client(pod, resumes, asks)

    def _admit(self, client: Client, opening: Opening) -> None:
        pod = client.pod
        if not pod.plain.take(client, opening):
            self.loop.create_task(pod.admission.open(client, opening))

    def _leave(self, person: Person) -> None:
        """Leave as when the socket is lost; the client keeps what it has."""
        client = person.connection
        client.pod.hub.remove(client)
        client.write = discard
        client.taking.set()
        if client.start is not None:
            self._check_position_is_honest(client)
            person.position = client.position
            person.last_id = client.id
            person.user = client.identities[-1].user

    def _take_all(self) -> None:
        for client in self.connections:
            client.taking.set()

    def _run(self, turns: int | None) -> None:
        if turns is None:
            self.loop.settle()
        else:
            self.loop.run(turns)

    def _publish(self, events: Sequence[Audience | Fleeting], exclude: str | None = None) -> None:
        for each in events:
            audience = each.audience if isinstance(each, Fleeting) else each
            history = isinstance(each, Audience)
            publication = Publication(audience, "tick", b"{}", exclude=exclude, history=history)
            event = self.bus.publish(publication)
            self.log.append(event)
            if not history:
                self.fleeting.add(event.id)

    def _trim(self, audience: Audience, keep: int) -> None:
        if self.bus.knows(audience.stream):
            self.bus.trim(audience.stream, keep)
            events = [
                event
                for event in self.log
                if event.audience == audience and event.id not in self.fleeting
            ]
            self._lost(events[: len(events) - keep])

    def _lost(self, events: list[Event]) -> None:
        """Clients without these events may never get them. They must be told, or not resume."""
        self.gone.update(event.id for event in events)
        if events:
            self.history_from = max(self.history_from, events[-1].id + 1)

    def _check_position_is_honest(self, client: Client) -> None:
        """It skips no loss that the client has not been told of, whenever the client leaves."""
        position = client.position or 0
        due = {event.id for event in self.log if event.id <= position and client.is_due(event)}
        missing = due - set(client.heard) - client.pod.unaware_of - self.fleeting
        assert max(missing, default=0) <= max(client.gaps, default=0), "led past a loss unaware"

    def _check_all_is_there(self) -> None:
        for person in self.people:
            client = person.connection
            if client.closed_with is None and client.state is not State.CLOSED:
                assert client.state is State.LIVE
        for client in self.connections:
            if client.state is not State.LIVE:
                continue
            due = [event.id for event in self.log if client.is_due(event)]
            missing = set(due) - set(client.heard) - client.pod.unaware_of - self.fleeting
            if missing:
                assert missing <= self.gone
                assert client.gaps, "events are missing and nobody said so"
                assert max(missing) <= client.gaps[-1]
        for opened in self.resumed:
            # No log shows what a failover lost. Each pod tells it at the position where it noticed,
            # so a client of another pod may resume from just before that position.
            reach = max(self.history_from, opened.client.pod.ring.broken_until)
            may_be_refused = opened.since < reach
            assert may_be_refused or not opened.client.not_resumed
            if opened.client.start is not None and not may_be_refused:
                assert opened.client.start == opened.since, "not resumed, though nothing was gone"
        self.resumed = []


def test_a_former_primary_answers_a_client_that_resumes() -> None:
    """It lacks an event, and the pod does not use its answer."""
    alice = Audience("user", "alice")
    state = Gateways()
    state.begin(first=[(0, "alice"), (1, None)])
    state._publish([alice])
    state._run(None)
    (person, _) = state.people
    state._leave(person)
    state.a_primary_hangs(pod=0, audience=alice, reads=0, unnoticed=[alice], then=None)
    state.wait(seconds=1.0, stalled=False)  # the pods follow the new one
    state.pods[0].former_reads = 1
    client = state._open(state.pods[0], person.user, person.position, person.last_id)
    person.connection = client
    state._run(None)
    assert not state.pods[0].former_reads
    assert client.closed_with is close_codes.UNAVAILABLE
    state.teardown()


@pytest.fixture(autouse=True)
def _small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round takes two events, and can be interrupted after every socket."""
    monkeypatch.setattr(delivery, "_ROUND_MAX_EVENTS", 2)
    monkeypatch.setattr(delivery, "_SOCKETS_PER_SLICE", 1)


# The suite tries the same examples every time. CLARION_TEST_EXAMPLES=1000 makes it try 1,000 new ones:
# run that by hand after each change to the code under test.
RANDOM = "CLARION_TEST_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("CLARION_TEST_EXAMPLES", "60"))
TestGateways = Gateways.TestCase
TestGateways.pytestmark = [pytest.mark.timeout(300)]  # on a machine that does much else
TestGateways.settings = settings(
    max_examples=EXAMPLES,
    derandomize=not RANDOM,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
