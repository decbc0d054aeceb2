"""A primary dies and Sentinels promote a replica: clients stay, and get everything or are told.

The Sentinels and servers are real, and are killed as in a crash.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from clarion_contract.bus import bus as bus_module
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, user_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.keyspace import Keyspace, pod_stream
from clarion_contract.redis.server import RedisServer
from clarion_gateway import app
from tests.integration.pod import Pod, eventually, started, token
from tests.integration.producer import LATE_SECONDS, heard_until, numbers_until, producing
from tests.integration.sockets import opened
from tests.redis_topologies import Node, Sentinels, sentinels, wait_until

ALICE = user_audience("alice")


async def accepted(pod: Pod, data: bytes) -> bool:
    """Try to publish an event once; False if Sentinels name no primary."""
    try:
        await pod.publish(data=data)
    except BusUnavailable:
        return False
    return True


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Sentinels]:
    with sentinels(tmp_path) as topology:
        yield topology


async def failed_over(topology: Sentinels) -> None:
    """Kill the primary; return when another one has replaced it."""
    old = topology.primary
    old.kill()
    await asyncio.to_thread(topology.wait_for_failover, old)


async def ready_again(pod: Pod) -> None:
    async with asyncio.timeout(LATE_SECONDS):
        await pod.ready()


async def test_a_failover_goes_unnoticed_where_the_replica_had_everything(
    topology: Sentinels, namespace: str
) -> None:
    """Events flow again as soon as there is a primary; failed publishes are retried."""
    async with (
        started(topology.url, namespace) as pod,
        opened(pod) as anonymous,
        opened(pod, token=token("alice")) as alice,
    ):
        async with producing(pod, 60, ALL, AUTHENTICATED, ALICE):
            pass
        await asyncio.to_thread(wait_until, topology.in_step, "replicas in step")
        topology.primary.kill()
        async with producing(pod, 60, ALL, AUTHENTICATED, ALICE, first=60) as producer:
            pass

        assert await numbers_until(anonymous, 117) == [*range(0, 60, 3), *producer.numbers(ALL)]
        assert await numbers_until(alice, 119) == list(range(120))
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 0
        assert await pod.metric("clarion_closes_total") == 0
        await ready_again(pod)


async def test_what_a_failover_lost_is_told(topology: Sentinels, namespace: str) -> None:
    """The replicas lack the last event, which clients have received: all get one `gap`."""
    async with (
        started(topology.url, namespace) as pod,
        opened(pod) as anonymous,
        opened(pod, token=token("alice")) as alice,
    ):
        await pod.publish(data=b'"kept"')
        await asyncio.to_thread(wait_until, topology.in_step, "replicas in step")
        old = topology.primary
        for replica in topology.replicas:
            replica.signal(signal.SIGSTOP)
        old.client.client_kill_filter(_type="replica")
        await pod.publish(data=b'"lost"')
        await alice.events(2)
        old.kill()
        for node in topology.nodes:
            if node is not old:
                node.signal(signal.SIGCONT)
        await pod.counted("clarion_gaps_total", outcome="lost")
        async with producing(pod, 3):
            pass

        assert await heard_until(anonymous, 2) == ["kept", "lost", "gap", 0, 1, 2]
        assert await heard_until(alice, 2) == ["gap", 0, 1, 2]
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 1


async def test_a_failover_that_lost_only_a_probe_is_told_too(
    topology: Sentinels, namespace: str
) -> None:
    """Events that nobody heard may have been lost with it. No log shows them, so a client that comes
    back is told, too."""
    probes = Keyspace(namespace).meta(pod_stream("pod-test"))
    async with (
        started(topology.url, namespace, probe_interval_seconds=0.1) as pod,
        opened(pod) as client,
    ):
        since = await pod.publish(data=b'"kept"')
        await asyncio.to_thread(wait_until, topology.in_step, "replicas in step")
        old = topology.primary
        for replica in topology.replicas:
            replica.signal(signal.SIGSTOP)
        old.client.client_kill_filter(_type="replica")
        for _ in range(3):  # each is sent when the one before has come back
            last = old.client.hget(probes, "last")
            await asyncio.to_thread(
                wait_until, lambda last=last: old.client.hget(probes, "last") != last, "a probe"
            )
        old.kill()
        for node in topology.nodes:
            if node is not old:
                node.signal(signal.SIGCONT)
        await pod.counted("clarion_gaps_total", outcome="lost")
        assert await heard_until(client, "gap") == ["kept", "gap"]
        await ready_again(pod)
        async with opened(pod, since=since) as back:
            assert back.welcome["resumed"] is False


async def test_a_client_resumes_over_a_failover(topology: Sentinels, namespace: str) -> None:
    """Its position is valid with the new primary, on this pod and on a new one.

    The pod sends no probe in between, because a failover that loses one is told as a loss.
    """
    async with started(topology.url, namespace, probe_interval_seconds=300) as pod:
        async with opened(pod, token=token("alice")) as alice:
            await pod.publish(ALICE, data=b"1")
            (event,) = await alice.events(1)
        await pod.publish(ALICE, data=b"2")
        await asyncio.to_thread(wait_until, topology.in_step, "replicas in step")
        await failed_over(topology)
        async with started(topology.url, namespace, pod="pod-late") as late:
            await pod.counted("clarion_bus_connects_total", 2, outcome="connected")
            for any_pod in (pod, late):
                async with opened(any_pod, since=event["id"], token=token("alice")) as back:
                    assert back.welcome["resumed"] is True
                    assert [each["data"] for each in await back.events(1)] == [2]


async def test_a_primary_that_hangs_is_left(topology: Sentinels, namespace: str) -> None:
    """Its connections stay open and silent. When it wakes, no pod listens to it any more."""
    async with (
        started(
            topology.url, namespace, probe_interval_seconds=0.2, probe_timeout_seconds=0.4
        ) as pod,
        opened(pod) as client,
    ):
        await pod.publish(data=b'"before"')
        await asyncio.to_thread(wait_until, topology.in_step, "replicas in step")
        old = topology.primary
        old.signal(signal.SIGSTOP)
        await asyncio.to_thread(topology.wait_for_failover, old)
        async with producing(pod, 3):
            pass
        await pod.counted("clarion_bus_connects_total", 2, outcome="connected")
        old.signal(signal.SIGCONT)
        await ready_again(pod)
        await pod.publish(data=b'"after"')
        assert await heard_until(client, "after") == ["before", 0, 1, 2, "after"]
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 0


async def test_what_passed_by_a_pod_at_a_primary_that_woke_up_is_told(
    topology: Sentinels, namespace: str
) -> None:
    """It was replaced while it hung, but does not know that yet. It accepts the pod's probes and
    returns them, so the pod believes that it hears everything."""
    async with (
        started(
            topology.url, namespace, probe_interval_seconds=0.2, probe_timeout_seconds=20
        ) as pod,
        opened(pod) as client,
    ):
        await pod.publish(data=b'"before"')
        await asyncio.to_thread(wait_until, topology.in_step, "replicas in step")
        await pod.bus.aclose()  # its connections lead to the old one
        old = topology.primary
        old.signal(signal.SIGSTOP)
        await asyncio.to_thread(topology.wait_for_failover, old)
        await eventually(partial(accepted, pod, b'"passed by"'), what="the new one takes events")
        old.signal(signal.SIGCONT)
        await asyncio.to_thread(wait_until, lambda: old.role() == "slave", "it learns of it", 30)
        await pod.counted("clarion_gaps_total", outcome="lost")
        await pod.publish(data=b'"after"')

        assert await heard_until(client, "after") == ["before", "gap", "after"]
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 1


@pytest.fixture
def gateways(monkeypatch: pytest.MonkeyPatch) -> list[RedisServer]:
    """The connections to Redis of each gateway that a test starts."""
    servers: list[RedisServer] = []

    def redis_from_url(url: str) -> RedisServer:
        server = bus_module.redis_from_url(url)
        assert isinstance(server, RedisServer)
        servers.append(server)
        return server

    monkeypatch.setattr(app, "redis_from_url", redis_from_url)
    return servers


async def awake_and_ignorant(topology: Sentinels, old: Node) -> None:
    """Wake a primary that was replaced while it hung, and keep the Sentinels from telling it so."""
    for sentinel in topology.sentinels:
        # They wait four times as long before they make a replica of it.
        sentinel.client.execute_command("SENTINEL", "DEBUG", "PUBLISH-PERIOD", 3_600_000)
    old.signal(signal.SIGCONT)

    def left_by_its_replicas() -> bool:
        replication = old.client.info("replication")
        return bool(replication["role"] == "master" and not replication["connected_slaves"])

    await asyncio.to_thread(wait_until, left_by_its_replicas, "replicas that left it")


@pytest.mark.parametrize("audience", [ALL, ALICE], ids=["shared", "user"])
async def test_a_client_does_not_resume_from_a_primary_that_was_replaced(
    tmp_path: Path, namespace: str, gateways: list[RedisServer], audience: Audience
) -> None:
    """It was replaced while it hung. Commands that were under way then get their answers when it
    wakes up, and their connections, still open, serve the next commands: the old log answers.
    """
    with sentinels(tmp_path, min_replicas=1) as topology:
        async with (
            started(
                topology.url,
                namespace,
                probe_interval_seconds=0.2,
                probe_timeout_seconds=1,
                replay_max_bytes=0,  # resumes read Redis
            ) as pod,
            opened(pod, token=token("alice")) as witness,
        ):
            await pod.publish(audience, data=b"1")
            (event,) = await witness.events(1)
            await asyncio.to_thread(wait_until, topology.in_step, "replicas in step")
            (redis,) = gateways
            under_way = [await redis._pool.get_connection() for _ in range(8)]
            await pod.bus.aclose()  # or else the old one is sent the next event, too
            old = topology.primary
            old.signal(signal.SIGSTOP)
            await asyncio.to_thread(topology.wait_for_failover, old)
            async with producing(pod, 1, audience, first=2):
                pass
            assert await heard_until(witness, 2) == [2]
            await awake_and_ignorant(topology, old)
            for connection in under_way:
                await redis._pool.release(connection)

            async with opened(pod, since=event["id"], token=token("alice")) as back:
                assert back.welcome["resumed"] is True
                assert [each["data"] for each in await back.events(1)] == [2]


async def test_one_sentinel_is_enough_and_one_that_hangs_costs_no_start(
    topology: Sentinels, namespace: str
) -> None:
    topology.sentinels[0].signal(signal.SIGSTOP)
    topology.sentinels[1].kill()
    async with started(topology.url, namespace) as pod, opened(pod) as client:
        await pod.publish(data=b"1")
        assert (await client.receive("event"))["data"] == 1
