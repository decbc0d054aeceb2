"""Clients that subscribe by messages, 50 names in each: the speed, and the memory of a topic more.

Each client has a topic from its token. It subscribes to 50 more: first to topics that no other
client has, then to topics that a hundred clients share.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from clarion_bench import clarion
from clarion_bench.crowd import LoadError
from clarion_bench.laboratory import Laboratory
from clarion_bench.topic_figure import TopicFigure
from clarion_bench.topics.turns import Gateway, gateway
from clarion_bench.window import clock

_NAMES_EACH: Final = 50
_SHARED_BY: Final = 100
_SUBSCRIBES_AIM: Final = 10_000
_BYTES_AIM: Final = 250
_AT_ONCE: Final = 20
_SETTLE_SECONDS: Final = 1.0
# The limits of one client, out of the way.
_ENV: Final = {
    "GATEWAY_SUBSCRIBES_PER_SECOND": "100000",
    "GATEWAY_SUBSCRIBE_BURST": "1000000",
}
Names = Callable[[int, int], str]


@dataclass(frozen=True)
class Subscribed:
    """The cost of the time until all clients had all their topics."""

    memberships: int
    cpu_seconds: float
    bytes: int
    others_busy: float


def memberships(clients: int, turns: int, bench: Laboratory) -> Iterator[TopicFigure]:
    """Yield subscribes per second of CPU, and bytes for each membership."""
    topics = max(_NAMES_EACH, clients * _NAMES_EACH // _SHARED_BY)
    own = [_run(clients, lambda i, n: f"bench.own.{i}.{n}", bench) for _ in range(turns)]
    yield _speed("subscribes/CPU s, topics of one", own)
    shared = [
        _run(clients, lambda i, n: f"bench.shared.{(i * _NAMES_EACH + n) % topics}", bench)
        for _ in range(turns)
    ]
    yield _speed(f"the same, topics of {_SHARED_BY}", shared)
    yield TopicFigure(
        f"bytes a membership, topics of {_SHARED_BY}",
        [each.bytes / each.memberships for each in shared],
        [],
        aim=_BYTES_AIM,
        others_busy=max(each.others_busy for each in shared),
    )


def _speed(name: str, runs: Sequence[Subscribed]) -> TopicFigure:
    return TopicFigure(
        name,
        [each.memberships / each.cpu_seconds for each in runs],
        [],
        aim=_SUBSCRIBES_AIM,
        at_least=True,
        others_busy=max(each.others_busy for each in runs),
    )


def _run(clients: int, names: Names, bench: Laboratory) -> Subscribed:
    with gateway(bench, _ENV) as server:
        return asyncio.run(_subscribed(server, clients, names, bench))


async def _subscribed(server: Gateway, clients: int, names: Names, bench: Laboratory) -> Subscribed:
    async with AsyncExitStack() as stack:
        connections = await _opened(server, clients, stack)
        await asyncio.sleep(_SETTLE_SECONDS)
        memory = server.process.memory_bytes()
        before = clock(server.process, bench.broker, 0.0)
        slots = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(
            *(_subscribe(each, index, names, slots) for index, each in enumerate(connections))
        )
        after = clock(server.process, bench.broker, 0.0)
        await asyncio.sleep(_SETTLE_SECONDS)
        return Subscribed(
            clients * _NAMES_EACH,
            after.server - before.server,
            server.process.memory_bytes() - memory,
            after.busy_since(before).others,
        )


async def _opened(
    server: Gateway, clients: int, stack: AsyncExitStack
) -> Sequence[ClientConnection]:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(index: int) -> ClientConnection:
        token = clarion.token(clarion.user(index), topics=["bench.first"], subscribe=["bench.**"])
        async with slots:
            connection = await stack.enter_async_context(
                connect(
                    f"ws://127.0.0.1:{server.port}/ws?token={token}",
                    subprotocols=[Subprotocol("clarion.v1")],
                    proxy=None,
                    compression=None,
                    ping_interval=None,
                )
            )
            await connection.recv()  # the welcome
            return connection

    return await asyncio.gather(*map(one, range(clients)))


async def _subscribe(
    connection: ClientConnection, index: int, names: Names, slots: asyncio.Semaphore
) -> None:
    topics = [names(index, number) for number in range(_NAMES_EACH)]
    async with slots:
        await connection.send(json.dumps({"kind": "subscribe", "ref": 1, "topics": topics}))
        while (answer := json.loads(await connection.recv()))["kind"] == "ping":
            pass
    if answer["kind"] != "subscribed" or len(answer["topics"]) != len(topics):
        raise LoadError(f"expected {len(topics)} topics, got {str(answer)[:200]}")
