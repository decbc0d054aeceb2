"""Redis is absent, dies, stalls or loses data: clients notice nothing, or are told the truth.

Each test has its own server, because its failures would disturb other tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal

import pytest
import redis.asyncio

from clarion_contract.events.audience import ALL, AUTHENTICATED, user_audience
from clarion_contract.redis.keyspace import Keyspace
from tests.integration.pod import SECONDS, Pod, eventually, started, token
from tests.integration.producer import (
    LATE_SECONDS,
    Producer,
    heard_until,
    numbers_until,
    producing,
)
from tests.integration.sockets import dialled, opened
from tests.valkey import Valkey

ALICE = user_audience("alice")
AUDIENCES = (ALL, AUTHENTICATED, ALICE)


async def kill_subscriptions(valkey: Valkey) -> None:
    async with redis.asyncio.Redis(port=valkey.port) as client:
        await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


async def restarted(valkey: Valkey) -> None:
    valkey.kill()
    await asyncio.to_thread(valkey.start)


async def test_a_gateway_starts_without_redis_and_is_ready_when_it_appears(
    valkey: Valkey, namespace: str
) -> None:
    """Pods and Redis may start in any order. A client that came too early waits for its welcome."""
    valkey.kill()
    async with started(valkey.url, namespace, wait=False) as pod:
        status, reasons = await pod.readiness()
        assert status == 503
        assert any("bus" in reason for reason in reasons)
        await pod.counted("clarion_bus_connects_total", outcome="failed")
        async with contextlib.AsyncExitStack() as stack:
            waiting = asyncio.create_task(stack.enter_async_context(opened(pod)))
            await asyncio.to_thread(valkey.start)
            await pod.ready()
            async with asyncio.timeout(LATE_SECONDS):
                early = await waiting
            await pod.publish(data=b"1")
            assert (await early.receive("event"))["data"] == 1


async def test_without_redis_a_client_is_sent_away_after_the_handshakes_time(
    valkey: Valkey, namespace: str
) -> None:
    """1013: the client made no mistake and will reconnect."""
    valkey.kill()
    async with (
        started(valkey.url, namespace, wait=False, handshake_seconds=0.3) as pod,
        dialled(pod) as connection,
    ):
        async with asyncio.timeout(SECONDS):
            await connection.wait_closed()
        assert connection.close_code == 1013
        await pod.counted("clarion_closes_total", code="1013", reason="unavailable")
        assert await pod.metric("clarion_connections") == 0


async def test_a_restart_with_data_goes_unnoticed(lasting_valkey: Valkey, namespace: str) -> None:
    """Redis is killed while events flow. Clients stay, and receive all events from before, during
    and after the restart: in order, none twice, on all three audiences."""
    async with (
        started(lasting_valkey.url, namespace) as pod,
        opened(pod) as anonymous,
        opened(pod, token=token("alice")) as alice,
    ):
        async with producing(pod, 300, ALL, AUTHENTICATED, ALICE) as producer:
            await producer.reach(100)
            await restarted(lasting_valkey)
            await producer.reach(200)
            await restarted(lasting_valkey)

        assert await numbers_until(anonymous, 297) == producer.numbers(ALL)
        assert await numbers_until(alice, 299) == list(range(300))
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 0
        assert await pod.metric("clarion_bus_connects_total", outcome="connected") >= 3
        assert await pod.metric("clarion_closes_total") == 0


async def test_a_client_comes_back_over_a_restart_with_data(
    lasting_valkey: Valkey, namespace: str
) -> None:
    """Its position is older than Redis' death. It resumes on this pod, or on one started later."""
    async with started(lasting_valkey.url, namespace) as pod:
        async with opened(pod) as client:
            since = client.welcome["id"]
        producer = Producer(pod)
        await producer.publish(1)
        await restarted(lasting_valkey)
        await pod.counted("clarion_bus_connects_total", 2, outcome="connected")
        await producer.publish(1)
        async with started(lasting_valkey.url, namespace, pod="pod-late") as late:
            for any_pod in (pod, late):
                async with opened(any_pod, since=since) as client:
                    assert client.welcome["resumed"] is True
                    assert [event["data"] for event in await client.events(2)] == [0, 1]


async def test_a_restart_without_data_is_told_once(valkey: Valkey, namespace: str) -> None:
    """The events are gone. Every client gets one `gap`, and then the new events."""
    async with (
        started(valkey.url, namespace) as pod,
        opened(pod) as anonymous,
        opened(pod, token=token("alice")) as alice,
    ):
        for number, audience in enumerate((ALL, AUTHENTICATED, ALICE)):
            await pod.publish(audience, data=b"%d" % number)
        assert [event["data"] for event in await anonymous.events(1)] == [0]
        assert [event["data"] for event in await alice.events(3)] == [0, 1, 2]
        before = int(alice.welcome["id"])

        await restarted(valkey)
        await pod.counted("clarion_gaps_total", outcome="lost")
        await Producer(pod, (ALL, AUTHENTICATED, ALICE)).publish(4)

        heard = await heard_until(anonymous, 3), await heard_until(alice, 3)
        lost = await pod.metric("clarion_gaps_total", outcome="lost")
        async with opened(pod, since=before) as back:
            resumed_from_before = back.welcome["resumed"]
        async with opened(pod, since=alice.welcome["id"], token=token("alice")) as back:
            resumed_from_the_start = back.welcome["resumed"]

    assert heard == (["gap", 0, 3], ["gap", 0, 1, 2, 3])
    assert lost == 1
    assert (resumed_from_before, resumed_from_the_start) == (False, False)


async def test_a_client_resumes_from_the_gap_it_was_told(valkey: Valkey, namespace: str) -> None:
    """The gap's id is a position: events published after the loss are there."""
    async with started(valkey.url, namespace) as pod, opened(pod) as client:
        await pod.publish(data=b'"before"')
        await client.receive("event")
        await restarted(valkey)
        gap = await client.receive("gap")
        await Producer(pod).publish(3)
        async with opened(pod, since=gap["id"]) as back:
            resumed = back.welcome["resumed"]
            numbers = [event["data"] for event in await back.events(3)]

    assert resumed is True
    assert numbers == [0, 1, 2]


async def test_a_pod_that_starts_after_the_loss_says_resumed_false_too(
    valkey: Valkey, namespace: str
) -> None:
    """It never saw the old ids. It only needs to know that a position is older than the data."""
    async with started(valkey.url, namespace) as pod, opened(pod) as client:
        await pod.publish(data=b"1")
        before = (await client.receive("event"))["id"]
        await restarted(valkey)
        await pod.counted("clarion_gaps_total", outcome="lost")
        async with (
            started(valkey.url, namespace, pod="pod-late") as late,
            opened(late, since=before) as back,
        ):
            assert back.welcome["resumed"] is False


async def test_subscriptions_cut_again_and_again_lose_nothing(
    valkey: Valkey, namespace: str
) -> None:
    """Redis does so when a client reads too slowly (client-output-buffer-limit pubsub)."""
    cuts = 10
    async with (
        started(valkey.url, namespace) as pod,
        opened(pod) as anonymous,
        opened(pod, token=token("alice")) as alice,
    ):
        async with producing(pod, 900, ALL, AUTHENTICATED, ALICE) as producer:
            for cut in range(1, cuts + 1):
                await producer.reach(80 * cut)
                await kill_subscriptions(valkey)
                await pod.counted("clarion_bus_connects_total", cut + 1, outcome="connected")

        assert await numbers_until(anonymous, 897) == producer.numbers(ALL)
        assert await numbers_until(alice, 899) == list(range(900))
        assert await pod.metric("clarion_gaps_total", outcome="repaired") >= 1
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 0
        assert await pod.metric("clarion_closes_total") == 0


async def test_a_redis_that_hangs_goes_unnoticed(valkey: Valkey, namespace: str) -> None:
    """Its connections stay open and silent. Only probes notice: the pod warns and stays ready.

    It hangs for longer than a command may take: until one has been given up.
    """
    async with (
        started(
            valkey.url, namespace, probe_interval_seconds=0.2, probe_timeout_seconds=0.4
        ) as pod,
        opened(pod) as anonymous,
        opened(pod, token=token("alice")) as alice,
    ):
        async with producing(pod, 200, ALL, AUTHENTICATED, ALICE) as producer:
            await producer.reach(60)
            valkey.signal(signal.SIGSTOP)
            try:
                assert any("not verified" in warning for warning in await pod.warned())
                await pod.counted("clarion_presence_writes_total", 1, outcome="failed")
            finally:
                valkey.signal(signal.SIGCONT)
            async with asyncio.timeout(LATE_SECONDS):
                await pod.ready()

        assert await numbers_until(anonymous, 198) == producer.numbers(ALL)
        assert await numbers_until(alice, 199) == list(range(200))
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 0
        assert await pod.metric("clarion_closes_total") == 0


@pytest.mark.parametrize(
    ("cut", "probe_interval_seconds"),
    [(False, 0.2), (True, 0.2), (False, 5)],
    ids=["connected", "reconnected", "probed seldom"],
)
async def test_a_quiet_stream_is_no_loss(
    valkey: Valkey, namespace: str, cut: bool, probe_interval_seconds: float
) -> None:
    """The history expired between two events. No client missed any, so no client gets a gap."""
    async with (
        started(
            valkey.url,
            namespace,
            history_max_age_seconds=1,
            probe_interval_seconds=probe_interval_seconds,
        ) as pod,
        opened(pod) as anonymous,
        opened(pod, token=token("alice")) as alice,
    ):
        await publish_to_each(pod, b"before")
        await forgotten(valkey, Keyspace(namespace))
        if cut:
            await kill_subscriptions(valkey)
            await pod.counted("clarion_bus_connects_total", 2, outcome="connected")
        await publish_to_each(pod, b"after")
        await publish_to_each(pod, b"last")

        heard = [await heard_until(anonymous, "last"), await heard_until(alice, "last", 3)]
        lost = await pod.metric("clarion_gaps_total", outcome="lost")
    assert heard == [["before", "after", "last"], [*["before"] * 3, *["after"] * 3, *["last"] * 3]]
    assert lost == 0


async def publish_to_each(pod: Pod, word: bytes) -> None:
    for audience in AUDIENCES:
        await pod.publish(audience, data=b'"%b"' % word)


async def forgotten(valkey: Valkey, keyspace: Keyspace) -> None:
    """Wait until Redis has dropped the logs, and what it knew of their newest events."""
    names = [audience.stream for audience in AUDIENCES]
    keys = [key for name in names for key in (keyspace.log(name), keyspace.meta(name))]
    async with redis.asyncio.Redis(port=valkey.port) as client:

        async def is_forgotten() -> bool:
            return int(await client.exists(*keys)) == 0

        await eventually(is_forgotten, what="logs that have expired")
