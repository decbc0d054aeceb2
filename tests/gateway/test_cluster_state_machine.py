"""Random sequences on a cluster: nothing is lost, each stream is in order, and losses are told.

Pods, clients and events are those of tests/gateway/test_state_machine.py, on three primaries. Their
times differ and drift, their connections lag behind each other, and each may fail over by itself.

Ids of different clocks do not compare, so the events that a client is due are defined by stream. On
each stream, its connection receives a run of events without a hole, from its welcome or log-in on.
A connection that resumes receives all events that no earlier connection had, and may receive events
in the overlap again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, topic_audience
from clarion_contract.events.event import Event
from clarion_gateway.connections.connection import State
from clarion_gateway.delivery import rounds as delivery
from tests.gateway.memory_bus import NODES
from tests.gateway.recorder import messages_of
from tests.gateway.test_state_machine import (
    AUDIENCES,
    LISTED,
    MAY_ASK_FOR,
    PODS,
    RANDOM,
    TOPICS,
    TURNS,
    Client,
    Gateways,
    Identity,
    Pod,
    Recalled,
)

SETTLED_SECONDS = 20
"""The data set is older than a position may be wrong by."""


@dataclass(frozen=True)
class Due:
    """The events that a client with an identity is due.

    Attributes:
        all_from: events of `all` above this id.
        authenticated_from: events of `authenticated` above this id.
        user_from: events of the user's stream, from this number of published events on.
        topics_from: the same for each topic that it hears.
    """

    user: str | None
    all_from: int
    authenticated_from: int
    user_from: int
    topics_from: dict[str, int] = field(default_factory=dict)

    @property
    def audiences(self) -> list[Audience]:
        """The audiences that take it in."""
        topics = [topic_audience(name) for name in self.topics_from]
        if self.user is None:
            return [ALL, *topics]
        return [ALL, AUTHENTICATED, Audience("user", self.user), *topics]


@dataclass
class Told:
    """A `gap`, and the number of losses at that time."""

    id: int
    losses: int


@dataclass
class Heard:
    """An event, and the identity with which the client received it."""

    id: int
    due: int


@dataclass
class Chain:
    """What a client keeps from earlier connections."""

    ids: set[str] = field(default_factory=set)
    had: set[int] = field(default_factory=set)
    told: list[Told] = field(default_factory=list)


class ClusterClient(Client):
    """One connection, with the events that it is due by stream."""

    __slots__ = ("_last", "chain", "dues", "events", "machine", "previous", "told")

    def __init__(
        self, pod: Pod, resumes: str | None, asks: tuple[str, ...], machine: ClusterGateways
    ) -> None:
        super().__init__(pod, resumes, asks)
        self.machine = machine
        before = [each for each in machine.connections if each.id == resumes]
        self.previous: ClusterClient | None = before[0] if before else None  # type: ignore[assignment]
        self._last: int | None = None
        self.chain = Chain()
        self.dues: list[Due] = []
        self.events: list[Heard] = []
        self.told: list[Told] = []

    @property
    def position(self) -> int | None:
        """The last id that the client was told, which need not be the highest."""
        return self._last

    def had(self, event: Event) -> bool:
        return event.id in self.chain.had or event.id in self.heard

    def is_excluded(self, event: Event) -> bool:
        return event.exclude is not None and event.exclude in self.chain.ids | {self.id}

    def _hear(self, data: bytes) -> None:
        for message in messages_of(data):
            kind = message["kind"]
            if kind == "event":
                assert self.start is not None, "an event before welcome"
                assert int(message["id"]) not in self.heard, "an event twice on a connection"
                self.check_not_told(int(message["id"]))
                self.heard.append(int(message["id"]))
                self.events.append(Heard(int(message["id"]), len(self.dues) - 1))
            elif kind == "welcome":
                self.not_resumed = message.get("not_resumed", [])
                self._welcome(int(message["id"]), message["user"], resumed=message["resumed"])
                assert set(message.get("topics", ())) == set(self.dues[-1].topics_from)
            elif kind == "identity":
                self._identify(message["user"])
                assert set(message.get("topics", ())) == set(self.dues[-1].topics_from)
            elif kind in {"subscribed", "unsubscribed"}:
                self._change_topics(message)
            elif kind == "gap":
                told = Told(int(message["id"]), self.machine.losses)
                self.gaps.append(told.id)
                self.told.append(told)
            if kind in {"event", "welcome", "gap", "subscribed"}:
                self._last = int(message["id"])

    def _welcome(self, position: int, user: str | None, *, resumed: bool | None) -> None:
        assert self.start is None, "welcomed twice"
        assert resumed or position == self.pod.delivery.position
        assert resumed or position % 2 == 0, "a position of the shared clock"
        self.start = position
        self.kept = LISTED[user] | MAY_ASK_FOR[user]
        anew = dict.fromkeys(self.kept, len(self.machine.log))
        self.identities.append(Identity(position, user, 0))
        if resumed:
            assert self.previous is not None
            chain = self.previous.chain
            self.chain = Chain(
                chain.ids | {self.previous.id},
                chain.had | set(self.previous.heard),
                chain.told + self.previous.told,
            )
            before = self.previous.dues[-1]
            for name, since in before.topics_from.items():
                if name in anew and name not in self.not_resumed:
                    anew[name] = since
            self.dues.append(replace(before, topics_from=anew))
        else:
            self.dues.append(Due(user, position, position, len(self.machine.log), anew))

    def _change_topics(self, message: dict[str, Any]) -> None:
        user, before, named = self.dues[-1].user, self.dues[-1].topics_from, message["topics"]
        if message["kind"] == "subscribed":
            assert int(message["id"]) == self.pod.delivery.position
            assert set(named) == {*TOPICS} & (LISTED[user] | MAY_ASK_FOR[user])
            self.kept |= set(named)
            anew = dict.fromkeys(named, len(self.machine.log))
            if self.wish:
                recalled = Recalled.of(message, self.wish, self.pod.bus.issued)
                self.recalled.append(recalled)
                anew |= {name: self._after(recalled, name) for name in recalled.topics}
            topics = anew | before
        else:
            assert set(message.get("kept", ())) == LISTED[user]
            self.kept = set()
            topics = {name: since for name, since in before.items() if name not in named}
        self.dues.append(replace(self.dues[-1], topics_from=topics))

    def _after(self, recalled: Recalled, topic: str) -> int:
        """The number of published events of which the client was told, or did not want to be."""
        for index, event in reversed([*enumerate(self.machine.log)]):
            if event.audience == topic_audience(topic) and (
                event.id in recalled.ids or event.id <= int(recalled.wish.get("since", 0))
            ):
                return index + 1
        return 0

    def _identify(self, user: str | None) -> None:
        position = self.pod.delivery.position
        self.identities.append(Identity(position, user, 0))
        before = self.dues[-1].topics_from
        self.kept &= LISTED[user] | MAY_ASK_FOR[user]
        anew = len(self.machine.log)
        topics = {name: before.get(name, anew) for name in LISTED[user] | self.kept}
        due = replace(self.dues[-1], user=user, topics_from=topics)
        if self.dues[-1].user is None:
            due = replace(due, authenticated_from=position)
        if self.dues[-1].user != user:
            due = replace(due, user_from=len(self.machine.log))
        self.dues.append(due)


class ClusterGateways(Gateways):
    """Three primaries. Bob's stream, the others with a name and the shared ones are on one each."""

    def __init__(self) -> None:
        self.losses = 0
        self.lost_by: dict[int, int] = {}  # by id of an event: the number of its loss
        self.trimmed: set[int] = set()
        super().__init__(clustered=True, redis_url="redis+cluster://localhost:6379")
        self.positions = self.pods[0].positions
        self.loop.advance(SETTLED_SECONDS)

    # what happens beside

    @rule(
        pod=PODS,
        node=st.sampled_from(NODES),
        seconds=st.sampled_from([0.01, 0.2, 1.0, 4.0, 8.0]),
        then=TURNS,
    )
    def a_connection_lags(self, pod: int, node: int, seconds: float, then: int | None) -> None:
        """One of a pod's connections falls behind the others, or hangs until it is given up."""
        subscriber = self.pods[pod].subscriber
        if subscriber is not None:
            subscriber.lag(node)
            self.loop.call_later(seconds, subscriber.arrive, node)
        self._run(then)

    @rule(node=st.sampled_from(NODES), milliseconds=st.integers(-400, 400))
    def a_clock_drifts(self, node: int, milliseconds: int) -> None:
        """Two clocks may differ by more than is allowed; then all ids are raised.

        No clock goes back: a data set with earlier ids is told, and not read.
        """
        back = self.bus.ahead[node] - milliseconds * 1_000
        self.bus.now += max(0, back)
        self.bus.ahead[node] -= back

    @rule(audience=st.sampled_from(AUDIENCES))
    def a_former_primary_speaks(self, audience: Audience) -> None:
        """It hung while another one replaced it. Pods already know events of the new primary."""
        self.loop.settle()
        last = self.bus.last_two(audience.stream)
        streams = [pod.subscription._streams.by_name.get(audience.stream) for pod in self.pods]
        if len(last) == 2 and all(stream is None or stream.last == last[1] for stream in streams):
            self.bus.publish_on_former_primary(audience)
            self.loop.settle()

    # what must hold

    @invariant()
    def nobody_hears_anything_but_what_he_is_due_in_order(self) -> None:
        for client in self.clients:
            for number, due in enumerate(client.dues):
                for audience in due.audiences:
                    self._check_run(client, number, audience)
            for heard in client.events:
                self._check_admitted(client, heard)

    def _check_recalled(self, client: Client, recalled: Recalled) -> None:
        """On each topic, in order and without a hole."""
        for topic in recalled.topics:
            ids = [
                event.id
                for event in self.log
                if event.audience == topic_audience(topic)
                and event.history
                and event.exclude != client.id
            ]
            told = [id_ for id_ in ids if id_ in recalled.ids]
            if told:
                between = {id_ for id_ in ids if told[0] <= id_ <= told[-1]}
                assert between - set(told) <= self.gone | self._unaware

    def _check_run(self, client: ClusterClient, number: int, audience: Audience) -> None:
        """The events on a stream are in order and without a hole, from the first one due."""
        ids = {event.id for event in self.log if event.audience == audience}
        heard = [each.id for each in client.events if each.due == number and each.id in ids]
        assert heard == sorted(heard)
        if heard:
            missing = self._missing(client, number, audience, until=heard[-1])
            assert missing <= self.gone, "a hole"

    def _missing(
        self, client: ClusterClient, number: int, audience: Audience, until: int | None = None
    ) -> set[int]:
        due = client.dues[number]
        return (
            {
                event.id
                for index, event in enumerate(self.log)
                if event.audience == audience
                and (until is None or event.id <= until)
                and is_due(due, event, index)
                and not client.had(event)
                and not client.is_excluded(event)
            }
            - self._unaware
            - self.fleeting
        )

    def _check_admitted(self, client: ClusterClient, heard: Heard) -> None:
        event = self._by_id[heard.id]
        due = client.dues[heard.due]
        assert event.audience in due.audiences
        assert client.start is not None
        if not event.audience.named:
            assert event.id > self.positions.shared_since(client.start), "heard before"
        if event.audience == AUTHENTICATED and not (client.chain.ids and heard.due == 0):
            assert event.id > due.authenticated_from, "of another identity"

    def _check_position_is_honest(self, client: Client) -> None:
        """A resume from it reads all events the client lacks, or the client knows of a loss."""
        assert isinstance(client, ClusterClient)
        position = client.position or 0
        for audience in client.dues[-1].audiences:
            since = self.positions.user_since if audience.named else self.positions.shared_since
            missing = self._missing(client, -1, audience, until=since(position))
            assert missing <= self.gone, "led past an event"
            self._check_told(client, missing)

    def _check_told(self, client: ClusterClient, missing: set[int]) -> None:
        told = client.chain.told + client.told
        for id_ in missing:
            since = [gap for gap in told if gap.losses >= self.lost_by[id_]]
            assert since, "events are missing and nobody said so"
            if id_ in self.trimmed:
                assert id_ <= max(gap.id for gap in since)

    def _check_all_is_there(self) -> None:
        for person in self.people:
            client = person.connection
            if client.closed_with is None and client.state is not State.CLOSED:
                assert client.state is State.LIVE
        for client in self.clients:
            if client.state is not State.LIVE:
                continue
            for audience in client.dues[-1].audiences:
                missing = self._missing(client, -1, audience)
                assert missing <= self.gone
                self._check_told(client, missing)
        for opened in self.resumed:
            start = opened.client.start
            if start is not None and not self.losses:
                assert start == opened.since, "not resumed, though nothing was gone"
                assert not opened.client.not_resumed
        self.resumed = []

    # how

    @property
    def clients(self) -> Iterator[ClusterClient]:
        return (client for client in self.connections if isinstance(client, ClusterClient))

    @property
    def _by_id(self) -> dict[int, Event]:
        return {event.id: event for event in self.log}

    @property
    def _unaware(self) -> set[int]:
        return set().union(*(pod.unaware_of for pod in self.pods))

    def _client(self, pod: Pod, resumes: str | None, asks: tuple[str, ...]) -> Client:
        return ClusterClient(pod, resumes, asks, self)

    def _lost(self, events: list[Event]) -> None:
        super()._lost(events)
        self.losses += 1
        for event in events:
            self.lost_by.setdefault(event.id, self.losses)

    def _trim(self, audience: Audience, keep: int) -> None:
        before = set(self.gone)
        super()._trim(audience, keep)
        if not audience.named:
            self.trimmed |= self.gone - before


def is_due(due: Due, event: Event, index: int) -> bool:
    if event.audience.kind == "topic":
        return index >= due.topics_from[event.audience.name]
    if event.audience.named:
        return index >= due.user_from
    return event.id > (due.all_from if event.audience == ALL else due.authenticated_from)


@pytest.fixture(autouse=True)
def _small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round takes two events, and can be interrupted after every socket."""
    monkeypatch.setattr(delivery, "_ROUND_MAX_EVENTS", 2)
    monkeypatch.setattr(delivery, "_SOCKETS_PER_SLICE", 1)


@pytest.mark.parametrize("emptied", [False, True])
def test_what_is_on_its_way_when_another_primary_fails_over(emptied: bool) -> None:
    """Found by random examples. The pod took the newest event of alice's log for one that it had
    heard, and dropped it when it came in. It had told a loss before, but if the log was emptied
    afterwards, nobody said so.
    """
    alice, bob = (Audience("user", name) for name in ("alice", "bob"))
    state = ClusterGateways()
    state.begin(first=[(0, "alice"), (1, None)])
    state._publish([alice])
    state.wait(seconds=11.0, stalled=False)
    here = state.bus.node_of(alice.stream)
    state.a_connection_lags(pod=0, node=here, seconds=8.0, then=None)
    state._publish([alice, alice])
    state.bus.lose_last(2, state.bus.node_of(bob.stream))  # each pod's last probe
    state.wait(seconds=11.0, stalled=False)
    if emptied:
        state.redis_suffers(how="trim", audience=alice, count=0, unnoticed=[], then=None)
    state.nobody_hears_anything_but_what_he_is_due_in_order()
    state.teardown()


TestClusterGateways = ClusterGateways.TestCase
TestClusterGateways.pytestmark = [pytest.mark.timeout(300)]  # on a machine that does much else
TestClusterGateways.settings = settings(
    max_examples=int(os.environ.get("CLARION_TEST_EXAMPLES", "40")),
    derandomize=not RANDOM,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
