"""`clarion_gateway.bus.subscription.Subscription`: every event comes once and in order, whatever
the connection does.

The bus is in memory, and the clock jumps. tests/gateway/test_state_machine.py looks for sequences
that nobody thought of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from clarion_contract.bus.history import History
from clarion_contract.events.audience import (
    ALL,
    AUTHENTICATED,
    Audience,
    audiences_of,
    topic_audience,
    user_audience,
)
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Event, Publication
from clarion_contract.events.topic_members import PRESENCE_CHANGED
from clarion_contract.redis.keyspace import pod_stream
from clarion_contract.redis.subscriber import Message
from clarion_gateway.bus.subscription import Subscription
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.identity import Identity
from clarion_gateway.delivery.ring import Ring, Segment
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.delivery.tracing import FanoutTracer
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.memory_bus import NODES, MemoryBus, MemorySubscriber
from tests.gateway.recorder import Recorder, metrics, sample, settings

ALICE = Audience("user", "alice")
INTERVAL = 5


class Listening:
    """A pod's subscription and delivery, with one anonymous and one authenticated client."""

    def __init__(
        self,
        loop: ClockworkLoop,
        *,
        begin: bool = True,
        check: Callable[[], Awaitable[None]] | None = None,
        relay: Any = None,
        **overrides: Any,
    ) -> None:
        self.loop = loop
        configured = settings(probe_interval_seconds=INTERVAL, **overrides)
        self.bus = MemoryBus(loop.time, clustered=configured.keyspace.clustered)
        self.metrics = metrics()
        self.hub = Hub()
        self.ring = Ring(1 << 20, segment_bytes=1_000)
        self.subscribers: list[MemorySubscriber] = []
        self.gaps: list[tuple[set[Audience], int]] = []
        self.heard_before_gaps: list[list[int]] = []  # by the anonymous client
        self.deaf_at_first = False
        self.delivery = Delivery(
            self.hub,
            self.ring,
            self.metrics,
            FanoutTracer(None, "pod-test"),
            pending_max_events=configured.pending_max_events,
            pending_max_bytes=configured.pending_bytes,
            held_max_events=1_000,
            unsent_max_bytes=configured.max_unsent_bytes,
            positions=configured.positions,
        )
        self.subscription = Subscription(
            self.bus,
            self.delivery,
            self.ring,
            self.metrics,
            configured,
            connect=self._connect,
            tell_gap=self._tell_gap,
            clocks=self.bus if self.bus.clustered else None,
            check=check,
            relay=relay,
            clock=loop.time,
        )
        self.nobody, self.alice = Recorder(), Recorder("alice")
        self.hub.add(self.nobody)
        if begin:
            self.begin()

    def begin(self) -> None:
        self.loop.create_task(self.delivery.run())
        self.loop.create_task(self.subscription.run())
        self.loop.settle()

    @property
    def subscriber(self) -> MemorySubscriber:
        """The present connection."""
        return self.subscribers[-1]

    def log_alice_in(self) -> None:
        self.loop.run_until_complete(self.subscription.join([user_audience("alice")]))
        self.hub.add(self.alice)

    def publish(
        self,
        audience: Audience = ALL,
        count: int = 1,
        *,
        history: bool = True,
        data: bytes = b"{}",
    ) -> list[int]:
        publication = Publication(audience, "tick", data, history=history)
        ids = [self.bus.publish(publication).id for _ in range(count)]
        self.loop.settle()
        return ids

    def joining(self, user: str | None) -> asyncio.Task[None]:
        return self.loop.spawn(self.subscription.join(audiences_of(Identity(user))))

    def _connect(self) -> MemorySubscriber:
        self.subscribers.append(MemorySubscriber(self.bus, reachable=lambda: not self.bus.down))
        self.subscriber.deaf = self.deaf_at_first and len(self.subscribers) == 1
        return self.subscriber

    def _tell_gap(self, audiences: Collection[Audience], position: int) -> None:
        self.gaps.append((set(audiences), position))
        self.heard_before_gaps.append(self.nobody.event_ids)


@pytest.fixture
def pod(loop: ClockworkLoop) -> Listening:
    return Listening(loop)


def test_events_of_all_streams_are_delivered_in_id_order(pod: Listening) -> None:
    pod.log_alice_in()
    ids = [pod.publish(to)[0] for to in (ALL, ALICE, AUTHENTICATED, ALL)]
    assert pod.alice.event_ids == ids
    assert pod.nobody.event_ids == [ids[0], ids[3]]
    assert pod.delivery.position == ids[-1]


def test_a_pod_listens_to_the_users_that_it_holds_and_no_other(pod: Listening) -> None:
    """A targeted event costs nothing on pods without the user."""
    assert pod.subscriber.streams == {"all", "authenticated", "pod:pod-test"}
    pod.log_alice_in()
    assert pod.subscriber.streams == {"all", "authenticated", "pod:pod-test", "user:alice"}


def test_a_message_that_comes_twice_is_delivered_once(pod: Listening) -> None:
    pod.subscriber.stutters = True
    ids = pod.publish(count=3)
    assert pod.nobody.event_ids == ids


def test_what_is_no_event_is_counted_and_passed_over(pod: Listening) -> None:
    pod.subscriber._put(Message("all", b"nonsense"))
    (id_,) = pod.publish()
    assert pod.nobody.event_ids == [id_]
    assert sample(pod.metrics, "clarion_bus_messages_invalid_total") == 1
    assert len(pod.subscribers) == 1


def test_a_gap_is_repaired_from_the_log_before_what_follows(pod: Listening) -> None:
    """`prev` shows the gap. Redis loses no message while the connection lives, but a proxy may."""
    (first,) = pod.publish()
    for _ in range(3):
        pod.bus.publish(Publication(ALL, "tick", b"{}"))
        pod.subscriber.swallow()
    (last,) = pod.publish()
    assert pod.nobody.event_ids == [first, first + 1, first + 2, first + 3, last]
    assert sample(pod.metrics, "clarion_gaps_total", outcome="repaired") == 1
    assert pod.gaps == []


def test_events_without_history_are_delivered_in_their_place(pod: Listening) -> None:
    pod.log_alice_in()
    ids = [
        pod.publish(to, history=history)[0]
        for to in (ALL, ALICE, AUTHENTICATED)
        for history in (True, False, False, True)
    ]
    assert pod.alice.event_ids == ids
    assert pod.gaps == []


@pytest.mark.parametrize("audience", [ALL, ALICE])
@pytest.mark.parametrize("last_has_history", [True, False])
def test_events_without_history_that_were_missed_are_no_gap(
    pod: Listening, audience: Audience, last_has_history: bool
) -> None:
    """Nobody can read them again. Those that can be read come, before what follows."""
    pod.log_alice_in()
    before = pod.publish(audience)
    pod.subscriber.cut()
    pod.publish(audience, history=False)
    logged = pod.publish(audience)
    pod.publish(audience, count=2, history=False)
    pod.loop.advance(1)
    pod.bus.trim(audience.stream, 0)
    after = pod.publish(audience, history=last_has_history)
    assert pod.alice.event_ids == before + logged + after
    assert pod.gaps == []


@pytest.mark.parametrize("missed", [1, 2])
def test_events_without_history_that_got_lost_on_their_way_are_no_gap(
    pod: Listening, missed: int
) -> None:
    before = pod.publish(history=False)
    for _ in range(missed):
        pod.bus.publish(Publication(ALL, "tick", b"{}", history=False))
        pod.subscriber.swallow()
    after = pod.publish() + pod.publish(history=False)
    assert pod.nobody.event_ids == before + after
    assert pod.gaps == []


def test_a_gap_that_the_log_no_longer_fills_is_told(pod: Listening) -> None:
    (first,) = pod.publish()
    for _ in range(3):
        pod.bus.publish(Publication(ALL, "tick", b"{}"))
        pod.subscriber.swallow()
    pod.bus.trim("all", 1)
    (last,) = pod.publish()
    assert pod.nobody.event_ids == [first, last - 1, last]
    assert pod.gaps == [({ALL}, last - 2)]
    assert pod.heard_before_gaps == [[first]]
    assert sample(pod.metrics, "clarion_gaps_total", outcome="lost") == 1


def test_a_connection_that_is_lost_while_a_gap_is_to_be_told_doubles_and_hides_nothing(
    pod: Listening,
) -> None:
    """Events read from the log are not read again, and the loss is still told."""
    (first,) = pod.publish()
    for _ in range(3):
        pod.bus.publish(Publication(ALL, "tick", b"{}"))
        pod.subscriber.swallow()
    pod.bus.trim("all", 1)
    pod.loop.run_until_complete(pod.delivery.between_rounds().acquire())  # a round that takes long
    (last,) = pod.publish()
    pod.loop.advance(2 * INTERVAL + 1)
    pod.delivery.between_rounds().release()
    pod.loop.advance(1)
    assert len(pod.subscribers) > 1
    assert pod.nobody.event_ids == [first, last - 1, last]
    assert [audiences for audiences, _ in pod.gaps] == [{ALL}]
    assert pod.heard_before_gaps == [[first]]


def test_a_loss_that_another_stream_is_ahead_of_takes_no_client_back(pod: Listening) -> None:
    """Clients have heard higher ids on another stream, so the gap is placed after those."""
    pod.log_alice_in()
    pod.publish(ALICE)
    for _ in range(2):
        pod.bus.publish(Publication(ALICE, "tick", b"{}"))
        pod.subscriber.swallow()
    (ahead,) = pod.publish(ALL)
    pod.bus.trim("user:alice", 0)
    (last,) = pod.publish(ALICE)
    assert pod.gaps == [({ALICE}, ahead)]
    assert pod.alice.event_ids[1:] == [ahead, last]


def test_a_lost_connection_is_made_up_for(pod: Listening) -> None:
    pod.log_alice_in()
    before = pod.publish()
    pod.subscriber.cut()
    meanwhile = [pod.publish(to)[0] for to in (ALICE, ALL, AUTHENTICATED)]
    assert pod.alice.event_ids == before
    pod.loop.advance(1)
    after = pod.publish(ALICE)
    assert pod.alice.event_ids == before + meanwhile + after
    assert pod.nobody.event_ids == before + meanwhile[1:2]
    assert len(pod.subscribers) == 2
    assert pod.gaps == []
    assert pod.subscriber.streams == {"all", "authenticated", "pod:pod-test", "user:alice"}
    assert sample(pod.metrics, "clarion_bus_connects_total", outcome="connected") == 2


def test_what_was_on_its_way_when_the_connection_was_lost_is_made_up_for(pod: Listening) -> None:
    ids = [pod.bus.publish(Publication(ALL, "tick", b"{}")).id for _ in range(3)]
    pod.subscriber.cut()
    pod.loop.advance(1)
    assert pod.nobody.event_ids == ids


def test_thousands_of_missed_events_are_read_in_pages(pod: Listening) -> None:
    pod.subscriber.cut()
    ids = pod.publish(count=2_500)
    pod.loop.advance(1)
    assert pod.nobody.event_ids == ids


def test_a_subscription_that_has_gone_deaf_is_replaced(pod: Listening) -> None:
    """The fault that nothing else notices: the socket is open, and no message comes."""
    pod.loop.advance(1)
    pod.subscriber.deaf = True
    (id_,) = pod.publish()
    assert pod.subscription.verified_age_seconds <= INTERVAL
    pod.loop.advance(INTERVAL + 5.5)
    assert len(pod.subscribers) == 2
    assert pod.nobody.event_ids == [id_]
    assert pod.subscription.verified_age_seconds < INTERVAL


def test_a_connection_on_which_nothing_is_ever_confirmed_is_given_up(loop: ClockworkLoop) -> None:
    """Redis accepts connections and does not answer, because its node has lost its network."""
    pod = Listening(loop, begin=False)
    pod.deaf_at_first = True
    pod.begin()
    joined = pod.joining(None)
    loop.advance(14)
    assert len(pod.subscribers) == 1
    loop.advance(3)
    assert len(pod.subscribers) == 2
    assert joined.done()


def test_a_first_probe_that_goes_to_another_server_is_not_believed(
    loop: ClockworkLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command's connection may lead to a former primary when the subscription does not."""
    pod = Listening(loop, begin=False)
    probe = pod.bus.probe
    believed: list[object] = []
    monkeypatch.setattr(pod.bus, "believe", believed.append)

    async def goes_astray(streams: Sequence[str]) -> list[int]:
        monkeypatch.setattr(pod.bus, "probe", probe)
        return [1 for _ in streams]

    monkeypatch.setattr(pod.bus, "probe", goes_astray)
    pod.begin()
    joining = pod.joining(None)
    assert not believed
    pod.loop.advance(4 * INTERVAL)
    assert joining.done()
    assert believed
    assert len(pod.subscribers) == 2


def test_it_is_verified_once_per_interval(pod: Listening) -> None:
    for _ in range(4):
        pod.loop.advance(INTERVAL)
        assert pod.subscription.verified_age_seconds <= INTERVAL
    assert len(pod.subscribers) == 1


def test_without_redis_it_begins_later(loop: ClockworkLoop) -> None:
    pod = Listening(loop, begin=False)
    pod.bus.down = True
    pod.begin()
    joined = pod.joining(None)
    loop.advance(30)
    assert pod.subscription.verified_age_seconds == float("inf")
    assert not joined.done(), "nobody is welcomed by a pod that hears nothing"
    failures = sample(pod.metrics, "clarion_bus_connects_total", outcome="failed")
    assert 10 < failures < 40, "it tries on, but not all the time"
    pod.bus.down = False
    loop.advance(2.1)
    assert joined.done()
    assert pod.publish() == pod.nobody.event_ids


def test_redis_may_be_away_for_a_while(pod: Listening) -> None:
    before = pod.publish()
    pod.bus.down = True
    pod.subscriber.cut()
    pod.loop.advance(60)
    assert pod.subscription.verified_age_seconds > 50
    pod.bus.down = False
    missed = pod.publish()
    pod.loop.advance(3)
    assert pod.nobody.event_ids == before + missed
    assert pod.subscription.verified_age_seconds < INTERVAL


def test_a_redis_that_only_refuses_to_publish_is_not_left(pod: Listening) -> None:
    """A probe that could not be sent says nothing about the subscription."""
    pod.bus.down = True
    pod.loop.advance(3 * INTERVAL)
    assert len(pod.subscribers) == 1
    assert pod.subscription.verified_age_seconds > INTERVAL
    pod.bus.down = False
    pod.loop.advance(INTERVAL)
    assert pod.subscription.verified_age_seconds < INTERVAL


def test_a_redis_that_has_lost_everything_is_told_to_everyone_once(pod: Listening) -> None:
    pod.log_alice_in()
    before = pod.publish()
    pod.subscriber.cut()
    pod.bus.lose_everything()
    meanwhile = pod.publish()
    pod.loop.advance(1)
    ((audiences, position),) = pod.gaps
    assert audiences >= {ALL, AUTHENTICATED, ALICE}
    assert before[-1] < position < meanwhile[0]
    after = pod.publish()
    assert pod.nobody.event_ids == before + meanwhile + after
    assert pod.heard_before_gaps == [before]
    pod.subscriber.cut()
    pod.loop.advance(1)
    assert len(pod.gaps) == 1
    assert pod.ring.since(before[-1], ("all", "authenticated")) is None


def test_a_failover_that_forgot_what_was_heard_concerns_everyone(pod: Listening) -> None:
    """If one write is lost, others may be that no pod has heard of."""
    pod.log_alice_in()
    before = pod.publish(ALICE)
    pod.subscriber.cut()
    pod.bus.lose_last(1)
    pod.loop.advance(1)
    ((audiences, position),) = pod.gaps
    assert ALL in audiences
    assert pod.ring.broken_until == position > before[-1]


@pytest.mark.parametrize(("fleeting", "more"), [(0, 1), (1, 0), (1, 1)])
def test_a_failover_shows_although_more_was_published_since(
    pod: Listening, fleeting: int, more: int
) -> None:
    """The log has no entry of an event without history, whose id is above all that was forgotten."""
    before = pod.publish(count=2)
    pod.subscriber.cut()
    pod.bus.lose_last(1)
    pod.publish(count=fleeting, history=False)
    after = pod.publish(count=more)
    pod.loop.advance(1)
    assert len(pod.gaps) == 1
    assert pod.nobody.event_ids == before + after
    assert not {*after} & {*pod.heard_before_gaps[0]}
    pod.subscriber.cut()
    pod.loop.advance(1)
    assert len(pod.gaps) == 1


@pytest.mark.parametrize("more", [0, 1])
def test_no_failover_shows_where_events_without_history_passed_by(
    pod: Listening, more: int
) -> None:
    before = pod.publish()
    pod.publish(history=False)
    pod.subscriber.cut()
    pod.publish(count=2, history=False)
    after = pod.publish(count=more)
    pod.loop.advance(1)
    assert pod.gaps == []
    assert {*before, *after} < {*pod.nobody.event_ids}


def test_a_failover_that_a_gap_shows_reaches_up_to_all_that_was_heard(pod: Listening) -> None:
    """The former primary may have lost events of other streams, with ids up to there."""
    pod.publish(AUTHENTICATED)
    pod.bus.lose_last(1)
    pod.bus.publish(Publication(AUTHENTICATED, "tick", b"{}"))
    pod.subscriber.swallow()
    (heard,) = pod.publish()
    pod.publish(AUTHENTICATED)
    assert pod.gaps == [({ALL}, heard)]
    assert pod.ring.broken_until == heard


def test_a_failover_that_forgot_an_event_of_a_quiet_user_is_told_once(pod: Listening) -> None:
    pod.log_alice_in()
    pod.publish(ALICE)
    pod.subscriber.cut()
    pod.bus.lose_last(1)
    pod.loop.advance(1)
    pod.subscriber.cut()
    pod.loop.advance(1)
    assert len(pod.subscribers) == 3
    assert len(pod.gaps) == 1


def test_a_failover_that_forgot_a_probe_is_told_once(pod: Listening) -> None:
    """The pod may have listened to a replaced primary, and missed an unknown number of events."""
    before = pod.publish()
    pod.loop.advance(INTERVAL + 0.5)
    pod.subscriber.cut()
    pod.bus.lose_last(1)
    pod.loop.advance(1)
    after = pod.publish()
    assert [audiences for audiences, _ in pod.gaps] == [{ALL}]
    assert pod.heard_before_gaps == [before]
    pod.loop.advance(3 * INTERVAL)
    pod.subscriber.cut()
    pod.loop.advance(3 * INTERVAL)
    assert pod.nobody.event_ids == before + after
    assert len(pod.gaps) == 1


@pytest.mark.parametrize("forgotten", [1, 0], ids=["forgotten", "kept"])
def test_a_forgotten_probe_shows_although_another_passed_by_the_pod(
    pod: Listening, forgotten: int
) -> None:
    """The other one went to the new primary while the pod still heard the former one."""
    pod.loop.advance(INTERVAL + 0.5)
    pod.subscriber.cut()
    pod.bus.lose_last(forgotten)
    pod.loop.run_until_complete(pod.bus.probe([pod_stream("pod-test")]))
    pod.loop.advance(1)
    assert [audiences for audiences, _ in pod.gaps] == [{ALL}] * forgotten
    pod.loop.advance(3 * INTERVAL)
    assert len(pod.gaps) == forgotten


def test_one_redis_is_believed_what_it_sends(pod: Listening) -> None:
    """Only a cluster passes on messages of a former primary. On one Redis, the log need not have
    the event."""
    pod.publish(count=2)
    pod.bus.lose_last(1)
    event = pod.bus.publish(Publication(ALL, "tick", b"{}"))
    pod.bus.trim("all", 0)
    pod.loop.settle()
    assert pod.nobody.event_ids[-1] == event.id


def test_after_a_failover_that_a_probe_tells_of_lower_ids_are_heard(pod: Listening) -> None:
    """The new primary's clock may be behind the old one's."""
    pod.log_alice_in()
    pod.loop.advance(INTERVAL + 0.5)
    heard = pod.publish()[0] + 1_000
    pod.subscriber._put(Message("authenticated", b"%d 0 tick - -\n1" % heard))
    pod.loop.settle()
    pod.bus.lose_last(2)  # the event, and the probe before it
    pod.loop.advance(INTERVAL)
    ((audiences, position),) = pod.gaps
    assert audiences == {ALL}
    assert pod.ring.broken_until == position >= heard
    pod.subscriber._put(Message("authenticated", b"%d 0 tick - -\n1" % (heard - 1)))
    pod.loop.settle()
    assert pod.alice.event_ids[-1] == heard - 1


def test_a_failover_that_forgot_an_event_and_a_probe_is_told_once(pod: Listening) -> None:
    pod.loop.advance(INTERVAL + 0.5)
    pod.publish()
    pod.subscriber.cut()
    pod.bus.lose_last(2)
    pod.loop.advance(3 * INTERVAL)
    assert [audiences for audiences, _ in pod.gaps] == [{ALL}]


def test_what_is_on_its_way_when_another_primary_fails_over_still_comes(
    loop: ClockworkLoop,
) -> None:
    """The log has it, but it has not come in yet: it joins what was heard before."""
    pod = Listening(loop, redis_url="redis+cluster://localhost:6379")
    pod.log_alice_in()
    before = pod.publish(ALICE)
    pod.loop.advance(INTERVAL + 0.5)
    here = pod.bus.node_of(ALICE.stream)
    pod.bus.lose_last(1, node=next(node for node in NODES if node not in (0, here)))  # a probe
    pod.subscriber.lag(here)
    late = pod.publish(ALICE, count=2)
    pod.loop.advance(INTERVAL)
    assert [audiences for audiences, _ in pod.gaps] == [{ALL}]
    assert pod.alice.event_ids == before
    pod.subscriber.arrive(here)
    pod.loop.settle()
    assert pod.alice.event_ids == before + late
    assert len(pod.gaps) == 1


def test_losses_of_several_streams_are_told_where_they_lie(pod: Listening) -> None:
    """Each comes before the later events of its own stream, and all are in the order of ids."""
    before = pod.publish()
    pod.publish(AUTHENTICATED)
    pod.subscriber.cut()
    lost, kept = pod.publish(), pod.publish()
    others_lost, others_kept = pod.publish(AUTHENTICATED), pod.publish(AUTHENTICATED)
    pod.bus.trim("all", 1)
    pod.bus.trim("authenticated", 1)
    pod.loop.advance(1)
    assert pod.gaps == [({ALL}, lost[0]), ({AUTHENTICATED}, others_lost[0])]
    assert pod.heard_before_gaps == [before, before + kept]
    assert others_kept[0] > others_lost[0]


def test_a_trimmed_log_is_told_beside_a_failover_that_forgot_an_event(pod: Listening) -> None:
    """Two losses of one audience are found at once, and each has its place."""
    pod.log_alice_in()
    before = pod.publish(AUTHENTICATED)
    pod.subscriber.cut()
    pod.bus.lose_last(1)
    since_failover = pod.publish(AUTHENTICATED)
    lost, kept = pod.publish(count=2)
    pod.bus.trim("all", 1)
    pod.loop.advance(1)
    assert pod.gaps == [({ALL}, since_failover[0] - 1), ({ALL}, lost)]
    assert pod.alice.event_ids == [*before, *since_failover, kept]
    assert pod.ring.broken_until == since_failover[0] - 1, "above it the log itself tells"


@pytest.mark.parametrize("trimmed", [True, False])
def test_a_loss_between_two_pages_is_told(
    pod: Listening, trimmed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catching up reads a page at a time; a log may be trimmed, or forgotten, in between."""
    pod.publish()
    pod.subscriber.cut()
    ids = pod.publish(count=750)
    read = pod.bus.history
    pages = 0

    async def history(*args: Any, **options: Any) -> Any:
        nonlocal pages
        answer = await read(*args, **options)
        pages += 1
        if pages == 1 and trimmed:
            pod.bus.trim("all", 200)
        elif pages == 1:
            pod.bus.lose_last(300)
        return answer

    monkeypatch.setattr(pod.bus, "history", history)
    pod.loop.advance(1)
    if trimmed:
        assert pod.gaps == [({ALL}, ids[-201])]
        assert pod.nobody.event_ids[1:] == ids[:500] + ids[-200:]
    else:
        ((audiences, position),) = pod.gaps
        assert audiences == {ALL}
        assert position >= ids[499]
        assert pod.nobody.event_ids[1:] == ids[:500]


@pytest.mark.parametrize("clustered", [False, True])
def test_a_data_set_with_earlier_ids_is_told_and_followed(
    loop: ClockworkLoop, clustered: bool
) -> None:
    """Another Redis, whose clock is an hour behind. Its events do not follow the known ones."""
    pod = Listening(loop, **({"redis_url": "redis+cluster://localhost:6379"} if clustered else {}))
    pod.log_alice_in()
    before = [pod.publish(to)[0] for to in (ALL, ALICE)]
    pod.subscriber.cut()
    pod.bus.lose_everything()
    pod.bus.ahead = [-3_600_000_000 for _ in pod.bus.ahead]
    unheard = [pod.publish(to)[0] for to in (ALL, ALICE)]
    loop.advance(1)
    ((audiences, position),) = pod.gaps
    assert audiences == {ALL}
    assert unheard[0] < position < before[0]
    assert position <= pod.delivery.position < before[0]
    assert pod.ring.floor == position
    assert pod.ring.broken_until == 0
    assert sample(pod.metrics, "clarion_gaps_total", outcome="lost") == 1
    after = [pod.publish(to)[0] for to in (ALL, ALICE, AUTHENTICATED)]
    assert pod.alice.event_ids == before + after
    assert pod.delivery.position == after[2]
    pod.subscriber.cut()
    missed = [pod.publish(to)[0] for to in (ALL, ALICE)]
    loop.advance(1)
    assert sorted(pod.alice.event_ids[5:]) == sorted(missed)
    assert len(pod.gaps) == 1


def test_a_quiet_stream_is_no_loss(pod: Listening) -> None:
    """After hours without events, Redis has forgotten the stream, but no event."""
    before = pod.publish()
    pod.bus.forget_quiet_streams()
    pod.loop.advance(3 * 3_600)
    pod.subscriber.cut()
    pod.loop.advance(1)
    after = pod.publish()
    assert pod.nobody.event_ids == before + after
    assert pod.gaps == []


def test_a_user_is_joined_when_redis_has_confirmed_it(pod: Listening) -> None:
    pod.subscriber.deaf = True
    joined = [pod.joining("alice"), pod.joining("alice"), pod.joining(None)]
    pod.loop.settle()
    assert [task.done() for task in joined] == [False, False, True]
    pod.loop.advance(INTERVAL + 5.5)  # the next connection is not deaf
    assert all(task.done() for task in joined)


def test_joins_of_the_same_moment_share_commands(pod: Listening) -> None:
    joined = [pod.joining(f"user-{number}") for number in range(100)]
    pod.loop.settle()
    assert all(task.done() for task in joined)
    assert len(pod.subscriber.streams) == 103
    assert pod.subscriber.commands <= 3


def test_a_join_while_redis_is_away_does_not_delay_later_joins(pod: Listening) -> None:
    """The new connection subscribes to that user with all others, so nothing is left to request."""
    pod.bus.down = True
    pod.subscriber.cut()
    pod.loop.settle()
    meanwhile = pod.joining("alice")
    pod.loop.settle()
    pod.bus.down = False
    pod.loop.advance(10)
    assert meanwhile.done()
    later = pod.joining("bob")
    pod.loop.settle()
    assert later.done()


def test_a_join_waits_for_the_position_to_pass_the_subscription(pod: Listening) -> None:
    """Otherwise older events for the user would lie above the pod's position. A client expects such
    events by subscription, and they would never come."""
    (id_,) = pod.publish(ALICE)
    assert pod.delivery.position < id_
    pod.loop.run_until_complete(pod.subscription.join([user_audience("alice")]))
    assert pod.delivery.position > id_


def test_a_refresh_reaches_everything_published_before(pod: Listening) -> None:
    """Another pod may have been ahead by a probe: its clients must not wait for this one's next."""
    (position,) = pod.loop.run_until_complete(pod.bus.probe([pod_stream("another-pod")]))
    assert pod.delivery.position < position
    pod.loop.run_until_complete(pod.subscription.refresh())
    assert pod.delivery.position > position
    assert pod.loop.now == 0, "no time passes"


def test_refreshes_share_probes(pod: Listening) -> None:
    pod.loop.advance(1)
    before = len(pod.bus.probes)
    refreshed = [pod.loop.spawn(pod.subscription.refresh()) for _ in range(1_000)]
    pod.loop.settle()
    assert all(task.done() for task in refreshed)
    assert len(pod.bus.probes) - before <= 3


def test_a_user_without_sockets_is_given_up_after_the_linger(pod: Listening) -> None:
    """A reload of a page costs Redis nothing."""
    pod.log_alice_in()

    def prune() -> None:
        pod.loop.run_until_complete(pod.subscription.prune(pod.hub.named_streams, 15))

    prune()
    pod.hub.remove(pod.alice)
    for _ in range(4):
        prune()
        assert "user:alice" in pod.subscriber.streams
        pod.loop.advance(4.9)
    prune()
    assert "user:alice" not in pod.subscriber.streams
    pod.log_alice_in()
    assert pod.publish(ALICE) == pod.alice.event_ids


def test_the_recent_events_of_streams_that_stay_are_kept(
    pod: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[Collection[str] | None] = []
    monkeypatch.setattr(pod.delivery, "forget_topics", forgotten.append)
    a, b = topic_audience("a"), topic_audience("b")
    assert pod.subscription.unconfirmed([ALL, a, b]) == 2
    pod.loop.run_until_complete(pod.subscription.join([a, b]))
    assert pod.subscription.unconfirmed([ALL, a, b]) == 0
    for _ in range(2):
        pod.loop.run_until_complete(pod.subscription.prune({"topic:b"}, 0))
    assert forgotten == [[], ["topic:a"]]
    assert "topic:b" in pod.subscriber.streams


def test_the_position_of_one_who_joins_leaves_no_hole(pod: Listening) -> None:
    """The pod did not hear an event, since it subscribed later. Its position must be above it."""
    (unheard,) = pod.publish(user_audience("alice"))
    assert pod.delivery.position < unheard
    pod.loop.run_until_complete(pod.subscription.join([user_audience("alice")]))
    assert pod.delivery.position > unheard


def test_only_idle_users_are_given_up(pod: Listening) -> None:
    """Neither shared streams, nor a user whose client is just connecting."""
    pod.log_alice_in()
    pod.loop.run_until_complete(pod.subscription.join([user_audience("bob")]))
    streams = pod.subscription._streams
    assert streams.prune({"user:alice"}, 15, 100.0) == []
    streams.by_name["user:bob"].joining += 1
    assert streams.prune({"user:alice"}, 15, 115.0) == []
    streams.by_name["user:bob"].joining -= 1
    assert streams.prune({"user:alice"}, 15, 115.0) == []
    assert streams.prune({"user:alice"}, 15, 129.9) == []
    assert streams.prune({"user:alice"}, 15, 130.0) == ["user:bob"]
    assert set(streams.by_name) == {"all", "authenticated", "user:alice", "pod:pod-test"}


def test_a_user_whom_redis_has_not_confirmed_is_kept(pod: Listening) -> None:
    pod.subscriber.deaf = True
    joining = pod.joining("alice")
    pod.loop.settle()
    stream = pod.subscription._streams.by_name["user:alice"]
    stream.joining = 0
    assert pod.subscription._streams.prune((), 0, 1.0) == []
    assert pod.subscription._streams.prune((), 0, 2.0) == []
    joining.cancel()


def test_a_user_who_comes_back_within_the_linger_is_kept(pod: Listening) -> None:
    pod.log_alice_in()
    pod.hub.remove(pod.alice)
    for _ in range(5):
        pod.loop.run_until_complete(pod.subscription.prune(pod.hub.named_streams, 15))
        pod.loop.advance(10)
        pod.loop.run_until_complete(pod.subscription.join([user_audience("alice")]))
    assert pod.subscriber.commands == 1 + 1, "subscribed once, with all others, and to her"


def test_a_pod_that_falls_behind_stops_reading_redis(loop: ClockworkLoop) -> None:
    pod = Listening(loop, pending_max_events=100)
    loop.run_until_complete(pod.delivery.between_rounds().acquire())
    for _ in range(250):
        pod.bus.publish(Publication(ALL, "tick", b"{}"))
    loop.settle()
    assert pod.delivery.pending == 100
    pod.delivery.between_rounds().release()
    loop.settle()
    assert len(pod.nobody.event_ids) == 250


def test_a_pod_stops_reading_redis_by_the_memory_that_waiting_events_take(
    loop: ClockworkLoop,
) -> None:
    pod = Listening(loop, pending_max_bytes=1 << 20)
    loop.run_until_complete(pod.delivery.between_rounds().acquire())
    for _ in range(50):
        pod.bus.publish(Publication(ALL, "tick", b'"%b"' % (b"x" * 60_000)))
    loop.settle()
    assert pod.delivery.pending == 18, "18 times 60,400 bytes are the first that are too much"
    pod.delivery.between_rounds().release()
    loop.settle()
    assert len(pod.nobody.event_ids) == 50


def test_what_a_pod_has_no_memory_to_make_up_for_is_told(loop: ClockworkLoop) -> None:
    """Clients get the newest events. Before those, each audience is told of its own losses."""
    pod = Listening(loop, pending_max_bytes=1 << 20)
    pod.log_alice_in()
    pod.subscriber.cut()
    large = [
        pod.bus.publish(Publication(to, "tick", b'"%b"' % (b"x" * 60_000))).id
        for to in [ALICE] * 10 + [ALL] * 20
    ]
    (small,) = pod.publish(AUTHENTICATED)
    pod.loop.advance(1)
    kept = large[-17:]
    assert pod.nobody.event_ids == kept
    assert pod.alice.event_ids == [*kept, small]
    assert pod.gaps == [({ALICE}, large[9]), ({ALL}, large[12])]
    assert pod.heard_before_gaps == [[], []]
    assert sample(pod.metrics, "clarion_gaps_total", outcome="lost") == 1
    after = pod.publish(ALICE) + pod.publish(ALL)
    assert pod.alice.event_ids == [*kept, small, *after], "and nothing is missed later"
    assert len(pod.gaps) == 2


def test_what_a_pod_has_no_memory_for_hides_no_other_loss(loop: ClockworkLoop) -> None:
    pod = Listening(loop, pending_max_bytes=1 << 20)
    pod.publish(AUTHENTICATED)
    pod.subscriber.cut()
    for _ in range(20):
        pod.bus.publish(Publication(ALL, "tick", b'"%b"' % (b"x" * 60_000)))
    lost, _ = pod.publish(AUTHENTICATED, count=2)
    pod.bus.trim("authenticated", 1)
    pod.loop.advance(1)
    assert [audiences for audiences, _ in pod.gaps] == [{ALL}, {AUTHENTICATED}]
    assert pod.gaps[1] == ({AUTHENTICATED}, lost)


def test_a_fresh_pod_knows_the_recent_past(loop: ClockworkLoop) -> None:
    """Clients of other pods can resume on it."""
    pod = Listening(loop, begin=False)
    past = [pod.bus.publish(Publication(to, "tick", b"{}")).id for to in (ALL, AUTHENTICATED)]
    pod.begin()
    recent = pod.ring.since(past[0] - 1, ("all", "authenticated"))
    assert recent is not None
    assert [event.id for event in recent] == past
    assert pod.nobody.event_ids == []


@pytest.mark.parametrize("each_authenticated", [2, 10])
def test_a_fresh_pod_keeps_no_more_of_the_past_than_its_ring_holds(
    loop: ClockworkLoop, each_authenticated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod reads the logs from their beginning, and keeps their end, from which clients resume.

    Of two logs, the one with fewer events is read faster. Some of its events are dropped before the
    other log has been read up to the same id.
    """
    pod = Listening(loop, begin=False)
    past = [
        pod.bus.publish(Publication(to, "tick", b"1" * 10_000)).id
        for to in ([ALL] * (each_authenticated - 1) + [AUTHENTICATED]) * 250
    ]
    kept: list[int] = []
    fill = pod.ring.fill

    def filling(floor: int, events: Sequence[Event]) -> None:
        kept.append(sum(event.cost_bytes for event in events))
        fill(floor, events)

    monkeypatch.setattr(pod.ring, "fill", filling)
    pod.begin()
    assert 0 < kept[0] <= pod.ring.max_bytes
    floor = pod.ring.floor
    assert floor is not None
    recent = pod.ring.since(floor, ("all", "authenticated"))
    assert recent is not None
    newest = [id_ for id_ in past if id_ > floor]
    assert 90 <= len(newest) < 110
    assert [
        event.id
        for item in recent
        for event in (item.events if isinstance(item, Segment) else [item])
    ] == newest


class Control:
    """Records the messages of the control stream, and each time the pod subscribes again."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.heard: list[bytes | str] = []
        self.fails = 0

    async def load(self) -> None:
        if self.fails:
            self.fails -= 1
            raise BusUnavailable("down")
        self.heard.append("began")

    def hear(self, payload: bytes) -> None:
        self.heard.append(payload)


class Controlled(Listening):
    """A pod that carries out orders."""

    def __init__(self, loop: ClockworkLoop) -> None:
        super().__init__(loop, begin=False)
        self.control = Control(self.bus)
        self.subscription = Subscription(
            self.bus,
            self.delivery,
            self.ring,
            self.metrics,
            settings(probe_interval_seconds=INTERVAL),
            connect=self._connect,
            tell_gap=self._tell_gap,
            control=self.control,
            clock=loop.time,
        )


def test_orders_are_handed_on_and_are_no_events(loop: ClockworkLoop) -> None:
    pod = Controlled(loop)
    pod.begin()
    pod.subscriber._put(Message("control", b"an order"))
    (id_,) = pod.publish()
    assert pod.control.heard == ["began", b"an order"]
    assert pod.nobody.event_ids == [id_]
    assert sample(pod.metrics, "clarion_bus_messages_invalid_total") == 0


def test_a_pod_asks_for_orders_each_time_that_it_was_away(loop: ClockworkLoop) -> None:
    """It asks after it has subscribed again, so that it misses none in between."""
    pod = Controlled(loop)
    pod.begin()
    pod.subscriber.cut()
    loop.advance(1)
    assert pod.control.heard == ["began", "began"]


def test_nobody_joins_before_the_orders_are_known(loop: ClockworkLoop) -> None:
    pod = Controlled(loop)
    pod.control.fails = 2
    joined = pod.joining("alice")
    pod.begin()
    assert not joined.done()
    loop.advance(5)
    assert joined.done()
    assert pod.control.heard == ["began"]


def test_redis_is_checked_on_each_connection_until_it_has_passed_once(loop: ClockworkLoop) -> None:
    asked: list[int] = []

    async def check() -> None:
        asked.append(len(pod.subscribers))
        if len(asked) < 3:
            raise BusUnavailable("too old")

    pod = Listening(loop, begin=False, check=check)
    pod.begin()
    loop.advance(60)
    assert asked == [1, 2, 3]
    pod.subscriber.cut()
    loop.advance(60)
    assert len(pod.subscribers) == 4
    assert pod.publish() == pod.nobody.event_ids
    assert asked == [1, 2, 3]


def test_the_first_probe_of_a_connection_shows_what_redis_is_believed(
    loop: ClockworkLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = Listening(loop, begin=False)
    believed: list[dict[str, int]] = []
    monkeypatch.setattr(pod.bus, "believe", believed.append)
    pod.begin()
    assert believed[0] == {pod_stream("pod-test"): pod.bus.probes[0]}


def test_what_comes_for_the_relay_goes_to_it(loop: ClockworkLoop) -> None:
    heard: list[bytes] = []
    pod = Listening(loop, relay=SimpleNamespace(stream="relay:pod-test", hear=heard.append))
    for listener in list(pod.bus.listeners):
        listener(Message("relay:pod-test", b"from another pod"))
    loop.settle()
    assert heard == [b"from another pod"]


def test_a_change_of_a_topics_members_is_no_event(pod: Listening) -> None:
    changed: list[str] = []
    pod.subscription.presence_changed = changed.append
    topic = topic_audience("a")
    pod.loop.run_until_complete(pod.subscription.join([topic]))
    pod.hub.hear(pod.nobody, (topic,))
    pod.bus.publish(Publication(topic, PRESENCE_CHANGED, b"null", history=False))
    pod.loop.settle()
    assert changed == [topic.stream]
    assert pod.nobody.written == []
    (id_,) = pod.publish(topic, history=False)
    assert changed == [topic.stream]
    assert pod.nobody.event_ids == [id_]


def test_a_ring_stays_empty_if_a_log_is_trimmed_while_it_is_filled(
    loop: ClockworkLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that come back find the rest in Redis, and are told of what is not there."""
    pod = Listening(loop, begin=False)
    *_, last = pod.publish(count=10)
    history = pod.bus.history

    async def trimmed_then(*args: Any, **options: Any) -> list[History]:
        found = await history(*args, **options)
        pod.bus.trim("all", 2)
        return found

    monkeypatch.setattr(pod.bus, "history", trimmed_then)
    pod.begin()
    assert len(pod.ring) == 0
    assert pod.ring.floor is not None
    assert last < pod.ring.floor <= pod.delivery.position
    ids = pod.publish()
    assert pod.nobody.event_ids == ids
    assert len(pod.ring) == 1
