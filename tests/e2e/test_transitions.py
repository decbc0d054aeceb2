"""The upstream learns once of each user that comes online or goes offline, whatever pods suffer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from clarion_contract.redis.keyspace import Keyspace
from tests.e2e.client import Socket, opened
from tests.integration.pod import eventually, token
from tests.integration.upstream import SECRET, Upstream, backend
from tests.processes import Process
from tests.valkey import Valkey

SECONDS = 60.0
GRACE_SECONDS = 1


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with backend() as running:
        running.answer = taken
        yield running


async def taken(_: dict[str, Any]) -> web.StreamResponse:
    return web.Response(status=204)


class Fleet:
    """Gateways as processes, with one backend."""

    def __init__(self, folder: Path, valkey: Valkey, namespace: str, upstream: Upstream) -> None:
        self._folder = folder
        self._valkey = valkey
        self._namespace = namespace
        self._upstream = upstream
        self.gateways: dict[str, Process] = {}

    async def start(self, pod: str) -> Process:
        process = Process(
            "gateway",
            self._folder / f"{pod}.log",
            self._valkey.url,
            CLARION_NAMESPACE=self._namespace,
            GATEWAY_POD=pod,
            GATEWAY_HEARTBEAT_SECONDS="2",
            GATEWAY_UPSTREAM_URL=self._upstream.url,
            GATEWAY_UPSTREAM_SECRET=SECRET,
            GATEWAY_UPSTREAM_HOOKS="presence",
            GATEWAY_UPSTREAM_OFFLINE_SECONDS=str(GRACE_SECONDS),
            GATEWAY_UPSTREAM_RETRIES="0",
        )
        self.gateways[pod] = process
        await asyncio.to_thread(process.wait_until_it_is_ready)
        return process

    def kill(self, pod: str) -> None:
        process = self.gateways.pop(pod).process
        process.kill()
        process.wait()

    async def leader(self) -> str:
        """The pod that tells the backend."""
        found: list[str] = []

        async def holds() -> bool:
            async with Redis.from_url(self._valkey.url, decode_responses=True) as redis:
                holder = await redis.get(Keyspace(self._namespace).transitions("lease"))
            found[:] = [] if holder is None else [holder.rpartition(":")[0]]
            return bool(found)

        await eventually(holds, seconds=SECONDS, what="a holder of the lease")
        return found[0]

    def socket(self, pod: str, user: str) -> contextlib.AbstractAsyncContextManager[Socket]:
        return opened(self.gateways[pod].url, token(user))


@pytest.fixture
def fleet(
    tmp_path: Path, shared_valkey: Valkey, namespace: str, upstream: Upstream
) -> Iterator[Fleet]:
    made = Fleet(tmp_path, shared_valkey, namespace, upstream)
    yield made
    for pod in list(made.gateways):
        made.kill(pod)


def told(upstream: Upstream, user: str) -> list[bool]:
    """Whether a user was told to be online, each time; repeated tellings count once."""
    by_position: dict[int, bool] = {}
    last = 0
    for event in upstream.events:
        assert event["type"] == "clarion.presence"
        for change in event["data"]["changes"]:
            if change["user"] == user:
                # A position that was told before may come again, in order.
                assert change["position"] > last or change["position"] in by_position
                last = max(last, change["position"])
                by_position[change["position"]] = change["online"]
    return [by_position[position] for position in sorted(by_position)]


async def until(upstream: Upstream, user: str, *states: bool) -> None:
    async def is_so() -> bool:
        return told(upstream, user) == list(states)

    await eventually(is_so, seconds=SECONDS, what=f"{user}: {states}")


async def test_once_over_all_pods_also_when_they_die(fleet: Fleet, upstream: Upstream) -> None:
    await fleet.start("a")
    await fleet.start("b")
    async with fleet.socket("a", "alice"):
        await until(upstream, "alice", True)
        async with fleet.socket("b", "alice"), fleet.socket("b", "bob"):
            await until(upstream, "bob", True)
    # Both left both pods. Transitions of a second connection, or of its end, would have come before.
    await until(upstream, "bob", True, False)
    await until(upstream, "alice", True, False)

    leader = await fleet.leader()
    other = "b" if leader == "a" else "a"
    async with contextlib.AsyncExitStack() as sockets:
        for user, pod in (("alice", leader), ("bob", other), ("carol", leader), ("carol", other)):
            await sockets.enter_async_context(fleet.socket(pod, user))
        for user in ("alice", "bob"):
            await until(upstream, user, True, False, True)
        await until(upstream, "carol", True)
        fleet.kill(leader)
        await until(upstream, "alice", True, False, True, False)
        assert told(upstream, "bob") == [True, False, True]
        assert told(upstream, "carol") == [True]
        assert await fleet.leader() == other
        fleet.kill(other)
    # The last pod died, and nobody can tell of its users until another one starts.
    await fleet.start("c")
    await until(upstream, "bob", True, False, True, False)
    await until(upstream, "carol", True, False)
    for event in upstream.events:
        first, last = (event["data"]["changes"][i]["position"] for i in (0, -1))
        assert event["id"] == f"presence_{first}_{last}"
        assert "clarionconnection" not in event


async def test_a_client_that_comes_back_in_time_was_never_gone(
    fleet: Fleet, upstream: Upstream
) -> None:
    await fleet.start("a")
    async with fleet.socket("a", "alice"):
        await until(upstream, "alice", True)
    async with fleet.socket("a", "alice"), fleet.socket("a", "bob"):
        await until(upstream, "bob", True)
    await until(upstream, "bob", True, False)
    await until(upstream, "alice", True, False)


async def test_what_the_backend_did_not_take_comes_again(fleet: Fleet, upstream: Upstream) -> None:
    async def fails(_: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=500 if len(upstream.bodies) % 2 else 404)

    upstream.answer = fails
    await fleet.start("a")
    async with fleet.socket("a", "alice"):
        await until(upstream, "alice", True)

        async def insists() -> bool:
            return len(upstream.bodies) >= 3

        await eventually(insists, seconds=SECONDS)
        assert {each["id"] for each in upstream.events} == {upstream.events[0]["id"]}
        process = fleet.gateways["a"]
        process.process.terminate()  # with a transition that nobody has taken
        await asyncio.to_thread(process.process.wait)
    upstream.bodies.clear()
    upstream.answer = taken
    await fleet.start("b")
    await until(upstream, "alice", True, False)


async def test_what_is_published_in_return_reaches_clients(
    fleet: Fleet, upstream: Upstream
) -> None:
    async def answer(event: dict[str, Any]) -> web.StreamResponse:
        changes = event["data"]["changes"]
        publish = [{"audience": "all", "type": "online", "data": each["user"]} for each in changes]
        return web.json_response({"publish": publish})

    upstream.answer = answer
    await fleet.start("a")
    async with fleet.socket("a", "alice") as alice:
        event = await alice.receive()
        assert (event["type"], event["data"]) == ("online", "alice")
    assert json.loads(upstream.bodies[0])["source"] == "/clarion/gateway/a"
