"""The bus on a real cluster: which node gets a call, and the result while slots or primaries move."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from clarion_contract.bus.bus import Answer, Bus, redis_from_url
from clarion_contract.bus.clocks import BucketClocks
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.bus.orders import Orders, RevokeToken, encode_order
from clarion_contract.bus.presence import PodLoad, PresenceEntry, PresenceRegister
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, user_audience
from clarion_contract.events.errors import BusUnavailable, IdempotencyKeyReused
from clarion_contract.events.event import Publication, Published
from clarion_contract.redis.cluster import RedisCluster
from clarion_contract.redis.cluster_subscriber import ClusterSubscriber
from clarion_contract.redis.keyspace import (
    BUCKET_NAMES,
    SHARED_BUCKET,
    Keyspace,
    bucket_of,
    pod_stream,
)
from clarion_contract.redis.server import NotReplicated, Replication
from clarion_contract.redis.subscriber import Message, Subscribed
from clarion_contract.redis.topology import Topology, slot_of
from tests.e2e.ports import free_port
from tests.integration.pod import eventually
from tests.redis_topologies import Cluster, Node, cluster, wait_until

LIMITS = HistoryLimits(max_events=1_000, max_age_seconds=60, key_ttl_seconds=60)
ALICE = user_audience("alice")
USERS = [user_audience(f"user-{number}") for number in range(40)]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for tests that leave it unchanged."""
    with cluster(tmp_path_factory.mktemp("cluster")) as topology:
        yield topology


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that a test may take apart."""
    with cluster(tmp_path) as topology:
        yield topology


@pytest.fixture
def keys(namespace: str) -> Keyspace:
    return Keyspace(namespace, clustered=True)


@contextlib.asynccontextmanager
async def bus_to(
    topology: Cluster, keys: Keyspace, replication: Replication | None = None
) -> AsyncIterator[Bus]:
    redis = redis_from_url(topology.url)
    bus = Bus(redis, keys, LIMITS, replication or Replication())
    try:
        yield bus
    finally:
        await bus.aclose()


@contextlib.asynccontextmanager
async def listening(
    topology: Cluster, keys: Keyspace, *streams: str
) -> AsyncIterator[ClusterSubscriber]:
    """A subscriber whose subscriptions are confirmed."""
    redis = redis_from_url(topology.url)
    assert isinstance(redis, RedisCluster)
    subscriber = ClusterSubscriber(topology.url, keys, redis)
    await subscriber.connect()
    try:
        await subscriber.subscribe(streams)
        confirmed = {await subscriber.receive() for _ in streams}
        assert confirmed == {Subscribed(stream) for stream in streams}
        yield subscriber
    finally:
        await subscriber.aclose()
        await redis.aclose()


def event(audience: Audience = ALL, data: bytes = b"1", key: str | None = None) -> Publication:
    return Publication(audience, "t", data, key)


def on(node: Node, topology: Cluster, keys: Keyspace) -> Audience:
    """A user whose stream is on a node."""
    return next(user for user in USERS if topology.primary_of(keys.log(user.stream)) is node)


def ids(answers: list[Answer]) -> list[int]:
    assert all(isinstance(answer, Published) for answer in answers), answers
    return [answer.id for answer in answers if isinstance(answer, Published)]


async def test_ids_rise_within_a_bucket_and_none_is_of_two_clocks(
    lasting: Cluster, keys: Keyspace
) -> None:
    async with bus_to(lasting, keys) as bus:
        shared = ids(await bus.publish([event(ALL), event(AUTHENTICATED), event(ALL)] * 20))
        assert shared == sorted(shared)
        assert not any(id_ % 2 for id_ in shared)
        one = ids(await bus.publish([event(ALICE)] * 50))
        assert one == sorted(set(one))
        assert all(id_ % 2 for id_ in one)
        (history,) = await bus.history([(ALICE, one[9])], limit=100)
        assert [each.id for each in history.events] == one[10:]
        assert [each.prev for each in history.events] == one[9:-1]


async def test_answers_stand_in_the_order_of_the_publications(
    lasting: Cluster, keys: Keyspace
) -> None:
    async with bus_to(lasting, keys) as bus:
        answers = await bus.publish([event(user) for user in USERS])
        histories = await bus.history([(user, 0) for user in USERS], limit=5, broken_too=True)
        assert [[each.id for each in history.events] for history in histories] == [
            [id_] for id_ in ids(answers)
        ]
        nodes = {lasting.primary_of(keys.log(user.stream)).port for user in USERS}
        assert len(nodes) == 3


async def test_once_per_key(lasting: Cluster, keys: Keyspace) -> None:
    async with bus_to(lasting, keys) as bus:
        (first,) = await bus.publish([event(ALICE, key="k")])
        again, other = await bus.publish([event(ALICE, key="k"), event(ALICE, b"2", "k")])
        assert isinstance(first, Published)
        assert again == Published(first.id, duplicate=True, gateways=0)
        assert isinstance(other, IdempotencyKeyReused)


async def test_every_part_has_its_epoch_from_the_beginning(
    lasting: Cluster, keys: Keyspace
) -> None:
    async with bus_to(lasting, keys) as bus:
        await BucketClocks(bus, keys, allowed_microseconds=1).begin()
        first = await bus.history([(user, 0) for user in USERS], limit=1)
        await asyncio.sleep(0.01)
        assert await bus.history([(user, 0) for user in USERS], limit=1) == first


async def test_a_clock_that_is_far_ahead_is_followed_by_all(
    lasting: Cluster, keys: Keyspace
) -> None:
    """For example, one node's time was off by an hour. Ids must still compare with all others."""
    hour = 3_600_000_000
    streams = ["all", *(on(node, lasting, keys).stream for node in lasting.primaries)]
    async with bus_to(lasting, keys) as bus:
        clocks = BucketClocks(bus, keys, allowed_microseconds=1_000_000)
        (id_,) = ids(await bus.publish([event()]))
        await clocks.level(streams, id_)
        near = ids(await bus.publish([event(user) for user in USERS]))
        assert all(abs(each - id_) < 10_000_000 for each in near), "nothing to do"
        clock = keys.clock("all")
        lasting.primary_of(clock).client.hset(clock, "now", str(id_ + hour))
        (id_,) = ids(await bus.publish([event()]))
        await clocks.level(streams, id_)
        raised = ids(await bus.publish([event(user) for user in USERS]))
        assert all(id_ < each < id_ + 1_000 for each in raised)


async def test_one_subscriber_hears_all_nodes_and_gives_up_what_it_is_told_to(
    lasting: Cluster, keys: Keyspace
) -> None:
    streams = [user.stream for user in USERS]
    async with bus_to(lasting, keys) as bus, listening(lasting, keys, "all", *streams) as ear:
        answers = await bus.publish([event(), *(event(user) for user in USERS)])
        assert all(isinstance(each, Published) and each.gateways == 1 for each in answers)
        heard = [await ear.receive() for _ in answers]
        assert {each.stream for each in heard} == {"all", *streams}
        await ear.unsubscribe(streams)
        await ear.subscribe(["authenticated"])
        assert await ear.receive() == Subscribed("authenticated")
        await eventually(_unheard(bus), what="no gateway for a user")
        await bus.publish([event(AUTHENTICATED)])
        while (await ear.receive()).stream != "authenticated":
            pass


def _unheard(bus: Bus):  # type: ignore[no-untyped-def]
    async def is_unheard() -> bool:
        answers = await bus.publish([event(user) for user in USERS])
        return not any(answer.gateways for answer in answers if isinstance(answer, Published))

    return is_unheard


async def test_probes_go_through_every_primary(lasting: Cluster, keys: Keyspace) -> None:
    async with bus_to(lasting, keys) as bus, listening(lasting, keys) as ear:
        streams = ear.probe_streams("pod")
        assert streams[0] == pod_stream("pod")
        assert len({lasting.primary_of(keys.log(stream)).port for stream in streams}) == 3
        await ear.subscribe(streams)
        for _ in streams:
            await ear.receive()
        shared, *others = await bus.probe(streams)
        assert shared % 2 == 0
        assert all(id_ % 2 for id_ in others)
        assert {(await ear.receive()).stream for _ in streams} == set(streams)


async def test_orders_are_kept_and_told(lasting: Cluster, keys: Keyspace) -> None:
    async with bus_to(lasting, keys) as bus, listening(lasting, keys, "control") as ear:
        orders = Orders(bus, keys, max_orders=5)
        order = RevokeToken("one", time.time() + 60)
        assert await orders.give([order]) == 1
        assert await ear.receive() == Message("control", encode_order(order))
        assert await orders.read() == [encode_order(order)]
        await bus.ping()


async def test_replicas_are_waited_for_at_each_primary(own: Cluster, keys: Keyspace) -> None:
    """One replica lags: only events at its primary are not confirmed."""
    async with bus_to(own, keys, Replication(1, 1.0)) as bus:
        users = [on(node, own, keys) for node in own.primaries]
        ids(await bus.publish([event(user) for user in users]))
        replica = own.replica_of(own.primary_of(keys.log(users[0].stream)))
        replica.signal(signal.SIGSTOP)
        lagging, *others = await bus.publish([event(user) for user in users])
        replica.signal(signal.SIGCONT)
        assert isinstance(lagging, NotReplicated)
        ids(others)


async def test_a_slot_moves_while_events_are_published(own: Cluster, keys: Keyspace) -> None:
    """Keys move one by one, with TRYAGAIN and ASK, then MOVED. No publish fails or repeats."""
    source = own.primary_of(keys.log(ALICE.stream))
    target = next(node for node in own.primaries if node is not source)
    async with bus_to(own, keys) as bus:
        published = ids(await bus.publish([event(ALICE)] * 10))
        move = asyncio.create_task(asyncio.to_thread(own.move, keys.log(ALICE.stream), target))
        while not move.done():
            published += ids(await bus.publish([event(ALICE), event(ALL), event(ALICE, key="k")]))[
                ::2
            ]
            await asyncio.sleep(0.01)
        await move
        assert own.primary_of(keys.log(ALICE.stream)) is target
        published += ids(await bus.publish([event(ALICE)]))
        (history,) = await bus.history([(ALICE, 0)], limit=1_000, broken_too=True)
        assert [each.id for each in history.events] == sorted(set(published))


async def test_a_subscriber_leaves_when_a_stream_has_moved(own: Cluster, keys: Keyspace) -> None:
    """Nobody publishes, and no connection ends: the node that gives the slot away reports it."""
    source = own.primary_of(keys.log(ALICE.stream))
    target = next(node for node in own.primaries if node is not source)
    async with listening(own, keys, ALICE.stream) as ear:
        await asyncio.to_thread(own.move, keys.log(ALICE.stream), target)
        async with asyncio.timeout(60):
            with pytest.raises(BusUnavailable, match="moved"):
                await ear.receive()


async def test_a_subscriber_leaves_a_primary_that_became_a_replica(
    own: Cluster, keys: Keyspace
) -> None:
    """It keeps its connections open; the next probe detects it."""
    node = own.primary_of(keys.log("all"))
    async with listening(own, keys, "all") as ear:
        replica = own.replica_of(node)
        replica.client.execute_command("CLUSTER", "FAILOVER")
        await asyncio.to_thread(wait_until, lambda: node.role() == "slave", "a replica")
        bus = Bus(ear._cluster, keys, LIMITS)
        await bus.probe(ear.probe_streams("pod"))
        async with asyncio.timeout(60):
            with pytest.raises(BusUnavailable, match="moved"):
                await _drained(ear)


async def _drained(ear: ClusterSubscriber) -> None:
    while True:
        await ear.receive()


async def test_a_dead_primary_costs_the_others_nothing(own: Cluster, keys: Keyspace) -> None:
    async with bus_to(own, keys) as bus:
        dying, *living = own.primaries
        users = [on(node, own, keys) for node in (dying, *living)]
        ids(await bus.publish([event(user) for user in users]))
        dying.kill()
        lost, *others = await bus.publish([event(user) for user in users])
        assert isinstance(lost, BusUnavailable)
        ids(others)
        with pytest.raises(BusUnavailable):
            await bus.history([(user, 0) for user in users], limit=1)

        async def back() -> bool:
            (answer,) = await bus.publish([event(users[0], key="k")])
            return isinstance(answer, Published)

        await eventually(back, what="the replica in its place")


async def test_a_primary_that_hangs_holds_up_one_pipeline_only(
    own: Cluster, keys: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("server", "cluster"):
        monkeypatch.setattr(f"clarion_contract.redis.{module}.COMMAND_TIMEOUT_SECONDS", 2.0)
    async with bus_to(own, keys) as bus:
        hanging, living, _ = own.primaries
        for node in own.nodes:  # nobody takes its place meanwhile
            node.client.config_set("cluster-replica-no-failover", "yes")
            node.client.config_set("cluster-require-full-coverage", "no")
        users = [on(hanging, own, keys), on(living, own, keys)]
        ids(await bus.publish([event(user) for user in users]))
        hanging.signal(signal.SIGSTOP)
        await bus.ping()
        lost, other = await bus.publish([event(user) for user in users])
        assert isinstance(lost, BusUnavailable)
        assert "Timeout" in str(lost)
        ids([other])
        lost, other = await bus.publish([event(user) for user in users])
        assert isinstance(lost, BusUnavailable)
        assert "gave no answer a moment ago" in str(lost), "it is not asked again"
        ids([other])
        hanging.signal(signal.SIGCONT)


async def test_each_node_that_answers_must_hold_what_came_in_from_it(
    lasting: Cluster, keys: Keyspace
) -> None:
    ranges = [(on(node, lasting, keys), 0) for node in lasting.primaries]
    async with bus_to(lasting, keys) as bus, listening(lasting, keys) as subscriber:
        streams = subscriber.probe_streams("p")
        heard = dict(zip(streams, await bus.probe(streams), strict=True))
        (event_id,) = ids(await bus.publish([event()]))
        bus.believe(heard)
        assert len(await bus.history(ranges, limit=1)) == len(lasting.primaries)
        assert await bus.holds("all", event_id)

        for wrong in (heard | {streams[0]: 1}, {name: heard[name] for name in streams[1:]}):
            bus.believe(wrong)
            with pytest.raises(BusUnavailable):
                await bus.history(ranges, limit=1)
            with pytest.raises(BusUnavailable):
                await bus.holds("all", event_id)

            async def is_read(audience: Audience) -> bool:
                with contextlib.suppress(BusUnavailable):
                    return bool(await bus.history([(audience, 0)], limit=1))
                return False

            shared = lasting.primary_of(keys.log("all"))
            other = next(node for node in lasting.primaries if node is not shared)
            await eventually(partial(is_read, on(other, lasting, keys)), what="another node's log")
            ids(await bus.publish([event()]))


async def test_no_node_answers(keys: Keyspace) -> None:
    bus = Bus(redis_from_url(f"redis+cluster://127.0.0.1:{free_port()}"), keys, LIMITS)
    for failing in (bus.publish([event()]), bus.history([(ALL, 0)], limit=1), bus.ping()):
        with pytest.raises(BusUnavailable, match="no node of the cluster answers"):
            await failing
    await bus.aclose()


def test_a_slot_that_nobody_holds() -> None:
    topology = Topology(((0, 10, ("a", 1)), (20, 16_383, ("b", 2))))
    assert topology.primary(10) == ("a", 1)
    assert topology.primary(20) == ("b", 2)
    with pytest.raises(BusUnavailable, match="slot 11"):
        topology.primary(11)


def test_buckets_spread_over_the_slots() -> None:
    """Three primaries share them about equally, and so do users."""
    thirds = [slot_of(f"{{{bucket}}}") * 3 // 16_384 for bucket in BUCKET_NAMES]
    assert all(60 < thirds.count(third) < 115 for third in range(3))
    buckets = {bucket_of(user_audience(f"u{number}").stream) for number in range(5_000)}
    assert len(buckets) == len(BUCKET_NAMES) - 1
    assert SHARED_BUCKET not in buckets


async def test_presence_lies_with_the_users(lasting: Cluster, keys: Keyspace) -> None:
    async with bus_to(lasting, keys) as bus:
        register = PresenceRegister(bus, keys)
        (name,) = {(await register.begin("pod", PodLoad(0, 3, 3), timeout_seconds=60)).name}
        assert name is not None
        entries = [
            (str(on(node, lasting, keys).user), PresenceEntry(1, 10.0))
            for node in lasting.primaries
        ]
        await register.write(name, entries)
        for user, entry in entries:
            assert await register.user(user) == {name: entry}
        await register.leave(name)
        assert await register.user(entries[0][0]) == {}
