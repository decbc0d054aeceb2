"""The publisher reports which users are connected and where, whatever gateways and Redis suffer."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.clarion import SECRET, Clarion
from tests.e2e.client import Socket, opened
from tests.e2e.stack import Stack, make_stack
from tests.valkey import Valkey

HEARTBEAT_SECONDS = 2
LIMIT = 3
SECONDS = 60.0


@pytest.fixture
def lively(valkey: Valkey, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    """A stack whose Redis may be stopped, and that notices dead pods soon."""
    made = make_stack(
        tmp_path,
        valkey.url,
        namespace,
        GATEWAY_HEARTBEAT_SECONDS=str(HEARTBEAT_SECONDS),
        GATEWAY_MAX_CONNECTIONS_PER_USER=str(LIMIT),
        GATEWAY_DRAIN_SPREAD_SECONDS="0.2",
    )
    with made.running():
        yield made


@pytest.fixture
def clarion(tmp_path: Path) -> Clarion:
    return Clarion(tmp_path)


@pytest.fixture
async def exits() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as exits:
        yield exits


async def eventually(
    stack: Stack, path: str, condition: Callable[[dict[str, Any]], bool], seconds: float = SECONDS
) -> None:
    """Ask until the answer is right."""
    started = time.monotonic()
    while True:
        said = await stack.read(path)
        passed = time.monotonic() - started
        if condition(said):
            return
        assert passed < seconds, said["pods"]
        await asyncio.sleep(0.02)


def is_on(**pods: int) -> Callable[[dict[str, Any]], bool]:
    """The user has this many connections on these pods, and on no other."""
    expected = {name.replace("_", "-"): count for name, count in pods.items()}

    def condition(said: dict[str, Any]) -> bool:
        there = {pod["pod"]: pod["connections"] for pod in said["pods"]}
        assert said["connections"] == sum(there.values())
        assert said["connected"] == bool(there)
        return there == expected

    return condition


async def connect(stack: Stack, gateway: int, exits: AsyncExitStack, user: str = "iris") -> Socket:
    url = stack.gateways[gateway].url
    return await exits.enter_async_context(opened(url, stack.token(user)))


async def test_presence_follows_sockets_pods_and_redis(
    lively: Stack, valkey: Valkey, exits: AsyncExitStack
) -> None:
    """One test, because starting the stack that it takes apart takes most of the time."""
    before = time.time()
    sockets = [await connect(lively, gateway, exits) for gateway in (0, 0, 1)]
    await eventually(lively, "/v1/users/iris", is_on(gateway_1=2, gateway_2=1))
    since = (await lively.read("/v1/users/iris"))["since"]
    assert before - 1 <= _seconds(since) <= time.time() + 1
    await eventually(lively, "/v1/connections", lambda said: said["authenticated"] == 3)

    await sockets[1].connection.close()
    await eventually(lively, "/v1/users/iris", is_on(gateway_1=1, gateway_2=1))

    valkey.kill()
    valkey.start()  # empty
    await eventually(lively, "/v1/users/iris", is_on(gateway_1=1, gateway_2=1))
    await eventually(lively, "/v1/connections", lambda said: said["connections"] == 2)

    lively.gateways[0].kill()
    await eventually(lively, "/v1/users/iris", is_on(gateway_2=1))
    await eventually(
        lively, "/v1/connections", lambda said: [p["pod"] for p in said["pods"]] == ["gateway-2"]
    )

    lively.gateways[1].terminate()
    await eventually(lively, "/v1/users/iris", is_on())
    lively.gateways[1].wait()
    assert (await lively.read("/v1/connections"))["pods"] == []


async def test_a_person_sees_and_disconnects_a_user(
    stack: Stack, clarion: Clarion, exits: AsyncExitStack
) -> None:
    """With the commands, from a folder that holds only the secret."""

    async def run(*arguments: str) -> dict[str, Any]:
        url = stack.publisher.url
        completed = await asyncio.to_thread(
            clarion.run, *arguments, CLARION_JWT_SECRET=SECRET, CLARION_PUBLISHER_URL=url
        )
        assert completed.stderr == ""
        said: dict[str, Any] = json.loads(completed.stdout)
        return said

    socket = await connect(stack, 0, exits, "ada")
    await eventually(stack, "/v1/users/ada", is_on(gateway_1=1))
    assert is_on(gateway_1=1)(await run("users", "ada"))
    assert [pod["pod"] for pod in (await run("connections"))["pods"]] == ["gateway-1", "gateway-2"]
    assert (await run("disconnect", "ada", "--bar", "--reason", "goodbye"))["gateways"] == 2
    assert await socket.close_code() == 4403
    assert socket.connection.close_reason == "goodbye"
    await eventually(stack, "/v1/users/ada", is_on())
    assert (await run("users", "ada"))["connected"] is False


async def test_a_pod_that_stood_still_is_gone_and_comes_back(
    lively: Stack, exits: AsyncExitStack
) -> None:
    """Its sockets are open, but the pod cannot report them. When it goes on, all of them count."""
    held = [await connect(lively, gateway, exits) for gateway in (0, 0, 1)]
    await eventually(lively, "/v1/users/iris", is_on(gateway_1=2, gateway_2=1))
    stopped = lively.gateways[0].process
    assert stopped is not None
    stopped.send_signal(signal.SIGSTOP)
    try:
        await eventually(lively, "/v1/users/iris", is_on(gateway_2=1))
        meanwhile = [await connect(lively, 1, exits) for _ in range(LIMIT - 1)]
        await eventually(lively, "/v1/users/iris", is_on(gateway_2=LIMIT))
    finally:
        stopped.send_signal(signal.SIGCONT)
    await eventually(lively, "/v1/users/iris", is_on(gateway_1=2, gateway_2=LIMIT))
    one_too_many = await connect(lively, 0, exits)
    assert await one_too_many.close_code() == 4429
    assert {each.connection.close_code for each in held + meanwhile} == {None}


async def test_a_user_has_one_limit_on_all_gateways(lively: Stack, exits: AsyncExitStack) -> None:
    held = [await connect(lively, n % 2, exits) for n in range(LIMIT)]
    await eventually(lively, "/v1/users/iris", is_on(gateway_1=2, gateway_2=1))
    for gateway in (0, 1):
        one_too_many = await connect(lively, gateway, exits)
        assert await one_too_many.close_code() == 4429
        assert one_too_many.connection.close_reason == "too many connections of this user"
    await lively.publish("authenticated", "still.here")
    for socket in held:
        assert (await socket.receive())["type"] == "still.here"
    await held[0].connection.close()
    await eventually(lively, "/v1/users/iris", is_on(gateway_1=1, gateway_2=1))
    await connect(lively, 1, exits)
    await eventually(lively, "/v1/users/iris", is_on(gateway_1=1, gateway_2=2))


async def test_of_many_that_come_at_once_as_many_stay_as_may(
    lively: Stack, exits: AsyncExitStack
) -> None:
    sockets = await asyncio.gather(*[connect(lively, n % 2, exits) for n in range(2 * LIMIT)])
    async with asyncio.timeout(SECONDS):
        while sum(each.connection.close_code is None for each in sockets) != LIMIT:
            await asyncio.sleep(0.02)
    await eventually(lively, "/v1/users/iris", lambda said: said["connections"] == LIMIT)
    assert sum(each.connection.close_code is None for each in sockets) == LIMIT


def _seconds(time_text: str) -> float:
    return datetime.fromisoformat(time_text).timestamp()
