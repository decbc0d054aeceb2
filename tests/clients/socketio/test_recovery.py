"""Recovery of unmodified clients: on any pod, after a pod's death, over a restart of Redis.

The gateways are processes of their own, so that SIGKILL ends them as in a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.balancer import balanced
from tests.clients.socketio.conftest import MODULES, Drive, Driven
from tests.clients.socketio.test_polling import QUICK
from tests.e2e.stack import Stack, make_stack
from tests.valkey import Valkey

pytestmark = [
    pytest.mark.timeout(900),  # gateways start again and again
    pytest.mark.parametrize("module", [MODULES[0]]),  # recovery came with 4.6
]
TRANSPORTS = pytest.mark.parametrize(
    "transports", [["websocket"], ["polling", "websocket"]], ids=["websocket", "upgrade"]
)


@contextmanager
def stack_on(server: Valkey, folder: Path, namespace: str) -> Iterator[Stack]:
    made = make_stack(folder, server.url, namespace)
    with made.running():
        yield made


@pytest.fixture
def stack(lasting_valkey: Valkey, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    with stack_on(lasting_valkey, tmp_path, namespace) as made:
        yield made


def behind_one(stack: Stack) -> AbstractAsyncContextManager[str]:
    """One address for both gateways. The first connection goes to the first gateway."""
    return balanced([httpx.URL(each.url).port or 0 for each in stack.gateways])


def connected(
    drive: Drive, url: str, stack: Stack, transports: list[str]
) -> AbstractAsyncContextManager[Driven]:
    auth = {"token": stack.token("alice"), "recovery": True}
    return drive(url, transports=transports, auth=auth, **QUICK)


def missed(client: Driven) -> list[Any]:
    """The data of events that came, of those published while the client was away."""
    events = [each for each in client.reports if each["kind"] == "event"]
    return [each["args"][0] for each in events if each["name"] == "missed"]


async def recovers_from_kills(
    client: Driven, sid: str, stack: Stack, audience: Any, turns: int
) -> None:
    """Kill the client's gateway again and again; it recovers, and has each event once, in order."""
    for turn in range(turns):
        # While one gateway is away, the client has only the other one.
        gateway = stack.gateways[turn % 2]
        begin = len(client.reports)
        await asyncio.to_thread(gateway.kill)
        await stack.publish(audience, "missed", turn)
        again = await client.told("connect", begin)
        assert (again["recovered"], again["sid"]) == (True, sid)
        await client.told("event", name="missed", begin=begin)
        await asyncio.to_thread(gateway.start)
        await asyncio.to_thread(gateway.wait_until_ready)
    await stack.publish(audience, "end")
    await client.event("end")
    assert missed(client) == list(range(turns)), "each once, in order"


def restart(server: Valkey) -> None:
    server.kill()
    server.start()


async def all_ready(stack: Stack) -> None:
    for each in stack.services:
        await asyncio.to_thread(each.wait_until_ready)


@TRANSPORTS
async def test_a_pod_that_is_killed_costs_nothing_again_and_again(
    drive: Drive, stack: Stack, transports: list[str]
) -> None:
    """The first time, no event has come to the client yet."""
    async with (
        behind_one(stack) as url,
        connected(drive, url, stack, transports) as client,
    ):
        sid = (await client.told("connect"))["sid"]
        await recovers_from_kills(client, sid, stack, {"user": "alice"}, turns=4)


@TRANSPORTS
async def test_topics_come_back_after_a_pod_is_killed(
    drive: Drive, stack: Stack, transports: list[str]
) -> None:
    auth = {"token": stack.token("alice", subscribe=["order.*"]), "recovery": True}
    async with (
        behind_one(stack) as url,
        drive(url, transports=transports, auth=auth, **QUICK) as client,
    ):
        sid = (await client.told("connect"))["sid"]
        assert (await client.ask("$subscribe", "order.42"))[0]["topics"] == ["order.42"]
        await recovers_from_kills(client, sid, stack, {"topic": "order.42"}, turns=3)


@TRANSPORTS
async def test_a_restart_of_redis_costs_nothing(
    drive: Drive, stack: Stack, lasting_valkey: Valkey, transports: list[str]
) -> None:
    """Redis and the client's pod go down together."""
    async with (
        behind_one(stack) as url,
        connected(drive, url, stack, transports) as client,
    ):
        sid = (await client.told("connect"))["sid"]
        await stack.publish("all", "missed", 0)
        await client.told("event", name="missed")
        begin = len(client.reports)
        first = stack.gateways[0]
        await asyncio.to_thread(first.kill)
        await stack.publish({"user": "alice"}, "missed", 1)
        await asyncio.to_thread(restart, lasting_valkey)
        await asyncio.to_thread(first.start)
        await all_ready(stack)
        await stack.publish({"user": "alice"}, "missed", 2)
        again = await client.told("connect", begin)
        assert (again["recovered"], again["sid"]) == (True, sid)
        await stack.publish("all", "end")
        await client.event("end")
        assert missed(client) == [0, 1, 2], "each once, in order"


async def test_a_client_is_told_that_redis_has_lost_what_it_missed(
    drive: Drive, valkey: Valkey, tmp_path: Path, namespace: str
) -> None:
    """And that later, it can recover again."""
    with stack_on(valkey, tmp_path, namespace) as stack:
        async with (
            behind_one(stack) as url,
            connected(drive, url, stack, ["websocket"]) as client,
        ):
            await client.told("connect")
            await stack.publish("all", "before", 0)
            await client.event("before")
            begin = len(client.reports)
            await client.write(disconnect=None)
            await client.told("disconnect", begin)
            await asyncio.to_thread(restart, valkey)
            await all_ready(stack)
            await client.write(connect=None)
            assert not (await client.told("connect", begin))["recovered"]
            begin = len(client.reports)
            await client.write(cut=None)
            await client.told("disconnect", begin)
            await stack.publish("all", "missed", 1)
            assert (await client.told("connect", begin))["recovered"]
            await client.told("event", begin, name="missed")
            assert missed(client) == [1]


async def test_the_token_is_checked_again(drive: Drive, stack: Stack) -> None:
    async with (
        behind_one(stack) as url,
        connected(drive, url, stack, ["websocket"]) as client,
    ):
        former = await client.told("connect")
        begin = len(client.reports)
        ended = {"token": stack.token("alice", -60), "recovery": True}
        await client.write(auth=ended, cut=None)
        refused = await client.told("connect_error", begin)
        assert refused["data"] == {"code": "unauthenticated"}
        await stack.publish({"user": "alice"}, "missed", 1)

        # Another user has another token, and recovers nothing of alice's.
        bob = {"token": stack.token("bob"), "recovery": True}
        await client.write(auth=bob, connect=None)
        other = await client.told("connect", begin)
        assert not other["recovered"]
        assert other["sid"] != former["sid"]
        await stack.publish("all", "end")
        await client.event("end")
        assert missed(client) == []
