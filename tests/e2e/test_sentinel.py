"""A failover under the whole stack: the primary is killed while events flow.

A publisher and two gateways run as in `clarion up`, on a Sentinel URL, and wait for replicas.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.client import Socket, opened, streamed
from tests.e2e.stack import Stack, make_stack
from tests.redis_topologies import Sentinels, sentinels

AUDIENCES = ["all", "authenticated", {"user": "alice"}]
# Until a replica takes its place, and confirms too: Sentinels and gateways ask now and then.
RECOVERY_SECONDS = 60.0


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Sentinels]:
    with sentinels(tmp_path / "redis") as topology:
        yield topology


@pytest.fixture
def failing_stack(topology: Sentinels, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    """A stack whose accepted events are on both replicas, whichever is promoted."""
    made = make_stack(tmp_path, topology.url, namespace, CLARION_WAIT_REPLICAS="2")
    with made.running():
        yield made


class Producer:
    """Publishes numbered events, each with a key and until it is confirmed."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.sent = 0

    @contextlib.asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Publish one event after the other; finish the current one at the end."""
        done = asyncio.Event()

        async def publish() -> None:
            while not done.is_set():
                await self._publish(self.sent)
                self.sent += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(publish())
            yield
            done.set()

    async def reach(self, count: int) -> None:
        """Return when this many more events are confirmed."""
        wanted = self.sent + count
        async with asyncio.timeout(RECOVERY_SECONDS):
            while self.sent < wanted:
                await asyncio.sleep(0.02)

    async def _publish(self, number: int) -> None:
        event = {"type": "tick", "data": number, "key": f"tick-{number}"}
        audience = AUDIENCES[number % len(AUDIENCES)]
        while True:
            with contextlib.suppress(httpx.TransportError):
                response = await self._stack.attempt({"audience": audience, **event})
                if response.is_success:
                    return
                assert response.status_code == 503, response.text
            await asyncio.sleep(0.05)


async def numbers(socket: Socket) -> list[int]:
    return [event["data"] for event in (await socket.events_until("the.end"))[:-1]]


async def test_a_failover_under_the_whole_stack_loses_nothing_and_disconnects_nobody(
    failing_stack: Stack, topology: Sentinels
) -> None:
    alice = failing_stack.token("alice")
    one, other = (gateway.url for gateway in failing_stack.gateways)
    producer = Producer(failing_stack)
    async with (
        opened(one, alice) as here,
        opened(other, alice) as there,
        opened(one) as anonymous,
        streamed(other, alice) as stream,
    ):
        assert (await stream.receive())["event"] == "$welcome"
        async with producer.publishing():
            await producer.reach(30)
            old = topology.primary
            old.kill()
            new = await asyncio.to_thread(topology.wait_for_failover, old)
            old.options = ["--replicaof", f"127.0.0.1 {new.port}"]
            await asyncio.to_thread(old.start)
            await producer.reach(30)
        await failing_stack.publish("all", "the.end")

        everything = list(range(producer.sent))
        assert await numbers(here) == everything
        assert await numbers(there) == everything
        assert await numbers(anonymous) == everything[::3]
        events = await stream.events_until("the.end")
        assert [event["data"] for event in events[:-1]] == everything
