"""A cluster of three primaries with replicas. Each holds users' streams, and any of them may die.

The nodes are real. They are killed as in a crash, and slots move while events flow.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarion_contract.bus.orders import Disconnect, Orders
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, user_audience
from clarion_contract.redis.keyspace import Keyspace
from tests.integration.pod import eventually, started, token, waiting
from tests.integration.producer import Producer, heard_until, producing
from tests.integration.sockets import Client, opened
from tests.redis_topologies import Cluster, cluster, wait_until

# A short overlap: probes at short intervals.
QUICK = {"probe_interval_seconds": 0.2, "probe_timeout_seconds": 1, "cluster_clock_seconds": 0.3}
OVERLAP_SECONDS = 2.5


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path) as topology:
        yield topology


@pytest.fixture
def keys(namespace: str) -> Keyspace:
    return Keyspace(namespace, clustered=True)


def users_of(topology: Cluster, keys: Keyspace) -> dict[str, Audience]:
    """By primary's address: a user whose stream is on it."""
    found: dict[str, Audience] = {}
    number = 0
    while len(found) < len(topology.primaries):
        user = user_audience(f"user-{number}")
        found.setdefault(topology.primary_of(keys.log(user.stream)).address, user)
        number += 1
    return found


async def heard(client: Client, producer: Producer, *audiences: Audience) -> list[int]:
    """All numbers of a client's audiences; any other or repeated message fails."""
    numbers: list[int] = []
    wanted = producer.numbers(*audiences)
    async with asyncio.timeout(60):
        while len(numbers) < len(wanted):
            numbers.append((await client.receive("event"))["data"])
    assert sorted(numbers) == wanted
    return numbers


def in_order(numbers: list[int], producer: Producer, *audiences: Audience) -> bool:
    wanted = producer.numbers(*audiences)
    return [number for number in numbers if number in wanted] == wanted


async def test_streams_lie_on_all_primaries_and_come_by_sharded_channels(
    topology: Cluster, namespace: str, keys: Keyspace
) -> None:
    users = users_of(topology, keys)
    async with contextlib.AsyncExitStack() as stack:
        pod = await stack.enter_async_context(started(topology.url, namespace, **QUICK))
        clients = {
            user: await stack.enter_async_context(opened(pod, token=token(str(user.user))))
            for user in users.values()
        }
        anonymous = await stack.enter_async_context(opened(pod))
        channels: set[str] = set()
        for node in topology.primaries:
            listened = node.client.execute_command("PUBSUB", "SHARDCHANNELS")
            assert keys.channel(users[node.address].stream).encode() in listened
            assert node.client.pubsub_channels() == []
            channels |= {channel.decode() for channel in listened}
        assert keys.channel("all") in channels
        async with producing(pod, 90, ALL, AUTHENTICATED, *users.values()) as producer:
            pass
        for user, client in clients.items():
            numbers = await heard(client, producer, ALL, AUTHENTICATED, user)
            assert in_order(numbers, producer, ALL, AUTHENTICATED)
            assert in_order(numbers, producer, user)
        assert await heard(anonymous, producer, ALL) == producer.numbers(ALL)


@pytest.mark.parametrize("dying", ["shared", "another"])
async def test_a_primary_dies_under_traffic_and_nobody_notices(
    topology: Cluster, namespace: str, keys: Keyspace, dying: str
) -> None:
    """Clients of two gateways stay connected and get each event once."""
    shared = topology.primary_of(keys.log("all"))
    users = users_of(topology, keys)
    old = shared if dying == "shared" else next(n for n in topology.primaries if n is not shared)
    async with contextlib.AsyncExitStack() as stack:
        pods = [
            await stack.enter_async_context(started(topology.url, namespace, pod=name, **QUICK))
            for name in ("pod-one", "pod-two")
        ]
        clients = [
            (user, await stack.enter_async_context(opened(pod, token=token(str(user.user)))))
            for pod in pods
            for user in users.values()
        ]
        careful = await stack.enter_async_context(waiting(pods[0]))
        async with producing(
            careful, 300, ALL, AUTHENTICATED, *users.values(), pause_seconds=0.005
        ) as producer:
            await producer.reach(100)
            old.kill()
            await asyncio.to_thread(topology.wait_for_failover, old)
            old.start()  # as a replica, without which nothing could wait for one
        for user, client in clients:
            numbers = await heard(client, producer, ALL, AUTHENTICATED, user)
            assert in_order(numbers, producer, ALL, AUTHENTICATED)
            assert in_order(numbers, producer, user)
        for pod in pods:
            assert await pod.metric("clarion_gaps_total", outcome="lost") == 0
            assert await pod.metric("clarion_closes_total") == 0
            await pod.ready()
    assert len(topology.primaries) == 3


async def test_a_client_resumes_over_a_failover_on_any_pod(
    topology: Cluster, namespace: str, keys: Keyspace
) -> None:
    """The events it missed are there, though its stream has another primary now."""
    users = users_of(topology, keys)
    jwts = {user: token(str(user.user)) for user in users.values()}
    async with started(topology.url, namespace, **QUICK) as pod:
        await asyncio.sleep(OVERLAP_SECONDS)  # all that is needed is older than the data set
        positions = {}
        for user, jwt in jwts.items():
            async with opened(pod, token=jwt) as client:
                await pod.publish(ALL, data=b"1")
                (event,) = await client.events(1)
                positions[user] = event["id"]
            await pod.publish(user, data=b"2")
        await pod.publish(ALL, data=b"3")
        await asyncio.to_thread(wait_until, topology.in_step, "replicas in step")
        old = topology.primary_of(keys.log("all"))
        old.kill()
        await asyncio.to_thread(topology.wait_for_failover, old)
        async with started(topology.url, namespace, pod="pod-late", **QUICK) as late:
            for any_pod in (pod, late):
                await any_pod.ready()
                for user, jwt in jwts.items():
                    async with opened(any_pod, since=positions[user], token=jwt) as back:
                        assert back.welcome["resumed"] is True
                        assert await heard_from(back, last=3) >= {2, 3}


async def heard_from(client: Client, last: int) -> set[int]:
    """The data of all events up to the one published last."""
    heard: set[int] = set()
    while last not in heard:
        heard.add((await client.receive("event"))["data"])
    return heard


async def test_clocks_that_differ_cost_nobody_an_event(
    topology: Cluster, namespace: str, keys: Keyspace
) -> None:
    """The shared clock is ahead of a user's clock by as much as the overlap allows.

    So the position that a client has from `all` is above the ids of the user's later events.
    """
    user = user_audience("alice")
    jwt = token("alice")
    async with started(topology.url, namespace, **QUICK | {"cluster_clock_seconds": 2.5}) as pod:
        await asyncio.sleep(OVERLAP_SECONDS + 2.5)
        async with opened(pod, token=jwt) as client:
            ahead = int(await pod.publish(user, data=b"0")) + 2_000_000
            node = topology.primary_of(keys.clock("all"))
            node.client.hset(keys.clock("all"), "now", str(ahead - ahead % 2))
            await pod.publish(ALL, data=b"1")
            (_, event) = await client.events(2)
            assert int(event["id"]) > ahead
        late = await pod.publish(user, data=b"2")
        assert late < int(event["id"])
        await pod.publish(ALL, data=b"3")
        async with opened(pod, since=event["id"], token=jwt) as back:
            assert back.welcome["resumed"] is True
            events = await back.events(3)
            assert [each["data"] for each in events] == [0, 2, 3], "0 again: within the overlap"
        async with opened(pod, since=str(late), token=jwt) as back:
            heard = [each["data"] for each in await back.events(2)]
            assert heard == [1, 3], "1 again; its own stream knows where it was"


async def test_a_clock_that_jumps_costs_nobody_an_event(
    topology: Cluster, namespace: str, keys: Keyspace
) -> None:
    """The shared clock is an hour ahead: the next probe raises the other clocks to it."""
    user = user_audience("alice")
    jwt = token("alice")
    async with started(topology.url, namespace, **QUICK) as pod:
        await asyncio.sleep(OVERLAP_SECONDS)
        async with opened(pod, token=jwt) as client:
            ahead = int(await pod.publish(ALL, data=b"0")) + 3_600_000_000
            node = topology.primary_of(keys.clock("all"))
            node.client.hset(keys.clock("all"), "now", str(ahead))
            await pod.publish(ALL, data=b"1")

            async def raised() -> bool:
                return await pod.publish(user, data=b"2") > ahead

            await eventually(raised, what="a raised clock")
            await pod.publish(ALL, data=b"3")
            while (event := await client.receive("event"))["data"] != 3:
                pass
        await pod.publish(user, data=b"4")
        await pod.publish(ALL, data=b"5")
        for since in (event["id"], str(ahead)):
            async with opened(pod, since=since, token=jwt) as back:
                assert back.welcome["resumed"] is True
                assert await heard_from(back, last=5) >= {4, 5}


async def test_a_slot_moves_under_traffic_and_nobody_notices(
    topology: Cluster, namespace: str, keys: Keyspace
) -> None:
    """Users' buckets and the shared one go to another primary, one after the other."""
    user = user_audience("alice")
    async with (
        started(topology.url, namespace, **QUICK) as pod,
        opened(pod, token=token("alice")) as alice,
        opened(pod) as anonymous,
    ):
        async with producing(pod, 300, ALL, AUTHENTICATED, user, pause_seconds=0.005) as producer:
            await producer.reach(50)
            for stream in (user.stream, "all"):
                source = topology.primary_of(keys.log(stream))
                target = next(node for node in topology.primaries if node is not source)
                await asyncio.to_thread(topology.move, keys.log(stream), target)
        numbers = await heard(alice, producer, ALL, AUTHENTICATED, user)
        assert in_order(numbers, producer, ALL, AUTHENTICATED)
        assert in_order(numbers, producer, user)
        assert await heard(anonymous, producer, ALL) == producer.numbers(ALL)
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 0


async def test_a_primary_of_a_cluster_that_hangs_is_left(
    topology: Cluster, namespace: str, keys: Keyspace
) -> None:
    """Its connections stay open and silent. When it wakes, no pod listens to it any more."""
    users = users_of(topology, keys)
    shared = topology.primary_of(keys.log("all"))
    old = next(node for node in topology.primaries if node is not shared)
    user = users[old.address]
    async with (
        started(topology.url, namespace, **QUICK) as pod,
        opened(pod, token=token(str(user.user))) as client,
    ):
        await pod.publish(user, data=b"0")
        await asyncio.to_thread(wait_until, topology.in_step, "replicas in step")
        old.signal(signal.SIGSTOP)
        async with producing(pod, 30, user, ALL, first=1) as producer:
            pass
        old.signal(signal.SIGCONT)
        await client.receive("event")
        numbers = await heard(client, producer, user, ALL)
        assert in_order(numbers, producer, user)
        assert in_order(numbers, producer, ALL)
        await pod.ready()
        await pod.publish(user, data=b'"after"')
        assert (await client.receive("event"))["data"] == "after"
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 0


@pytest.mark.parametrize("losing", ["shared", "another"])
async def test_what_a_failover_of_a_cluster_lost_is_told(
    topology: Cluster, namespace: str, keys: Keyspace, losing: str
) -> None:
    """The replica lacks the last event, which clients have received: all get one `gap`."""
    shared = topology.primary_of(keys.log("all"))
    old = shared if losing == "shared" else next(n for n in topology.primaries if n is not shared)
    user = users_of(topology, keys)[old.address]
    audience = ALL if losing == "shared" else user
    replica = topology.replica_of(old)
    async with (
        started(topology.url, namespace, **QUICK) as pod,
        opened(pod) as anonymous,
        opened(pod, token=token(str(user.user))) as client,
    ):
        await pod.publish(audience, data=b'"kept"')
        await asyncio.to_thread(wait_until, topology.in_step, "replicas in step")
        replica.signal(signal.SIGSTOP)
        old.client.client_kill_filter(_type="replica")
        await pod.publish(audience, data=b'"lost"')
        assert [each["data"] for each in await client.events(2)] == ["kept", "lost"]
        old.kill()
        replica.signal(signal.SIGCONT)
        await asyncio.to_thread(topology.wait_for_failover, old)
        async with producing(pod, 6, ALL, user):
            pass
        assert await heard_until(client, 5) == ["gap", 0, 1, 2, 3, 4, 5]
        before = ["kept", "lost"] if losing == "shared" else []
        assert await heard_until(anonymous, 4) == [*before, "gap", 0, 2, 4]
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 1


async def test_orders_reach_every_pod(topology: Cluster, namespace: str, keys: Keyspace) -> None:
    async with (
        started(topology.url, namespace, **QUICK) as one,
        started(topology.url, namespace, pod="pod-two", **QUICK) as two,
        opened(one, token=token("alice")) as here,
        opened(two, token=token("alice")) as there,
    ):
        order = Disconnect(uuid.uuid4().hex, "alice", "bye", True, time.time() + 60)
        assert await Orders(one.bus, keys, max_orders=10).give([order]) == 2
        assert await here.closed() == await there.closed() == (4409, "bye")
