"""Avalanche: a server with thousands of clients leaves, and the clients return to another one.

There are two servers of a kind, and all clients are on the first. It gets SIGTERM, as in a rolling
deploy. From then on every new connection goes to the second server, as a load balancer would do.
Each client returns as its own system documents it. Meanwhile events flow, and each client counts
the events it missed.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from clarion_bench import payload
from clarion_bench.contenders import CONTENDERS, Contender, Started, started
from clarion_bench.laboratory import Laboratory
from clarion_bench.launch import Launch
from clarion_bench.results import Avalanche, percentile
from clarion_bench.returning import ClarionPolicy, Policy, Returning, SocketIoPolicy, highest_rate
from clarion_bench.window import machine_cpu_seconds

_OPEN_SECONDS = 120.0
_BACK_SECONDS = 180.0
_CALM_SECONDS = 2.0
POLICIES: dict[str, Callable[[], Policy]] = {
    "clarion": ClarionPolicy,
    "clarion-anonymous": ClarionPolicy,
    "socketio": SocketIoPolicy,
}


@dataclass(frozen=True)
class AvalancheOptions:
    """The options. The drain's settings default to those of the gateway."""

    servers: Sequence[str] = ("clarion", "socketio")
    connections: int = 5_000
    events_per_second: float = 2.0
    pause_seconds: float = 5.0
    spread_seconds: float = 20.0


def avalanche(
    options: AvalancheOptions, bench: Laboratory, announce: Callable[[str], None]
) -> Iterator[Avalanche]:
    """Yield one result for each server."""
    for name in options.servers:
        contender = _deployed(CONTENDERS[name], options)
        announce(f"{contender.label}: {options.connections:,} clients lose their server")
        with (
            started(contender, bench) as leaving,
            started(contender, bench) as staying,
        ):
            yield asyncio.run(_measure(contender, leaving, staying, options, bench))


def _deployed(contender: Contender, options: AvalancheOptions) -> Contender:
    """A contender with drain settings as on a cluster, and a pod name for each of its processes.

    Peers have no such settings and ignore them.
    """

    def launch(port: int, redis_url: str) -> Launch:
        plain = contender.launch(port, redis_url)
        drain = {
            "CLARION_POD": f"bench-{port}",
            "GATEWAY_DRAIN_PAUSE_SECONDS": str(options.pause_seconds),
            "GATEWAY_DRAIN_SPREAD_SECONDS": str(options.spread_seconds),
        }
        return replace(plain, env={**plain.env, **drain})

    return replace(contender, launch=launch)


async def _measure(
    contender: Contender,
    leaving: Started,
    staying: Started,
    options: AvalancheOptions,
    bench: Laboratory,
) -> Avalanche:
    policy = POLICIES[contender.name]()
    crowd = Returning(policy, leaving.port, contender.queries(options.connections))
    count = len(crowd.clients)
    try:
        await crowd.connect(_OPEN_SECONDS)
        async with _publishing(leaving, options.events_per_second) as published:
            await asyncio.sleep(_CALM_SECONDS)
            terminated_at, machine = time.monotonic(), machine_cpu_seconds()
            mine = _cpu_seconds(leaving, staying, bench)
            first = len(crowd.opened_at)
            crowd.port = staying.port
            leaving.process.terminate()
            await crowd.until(lambda: len(crowd.opened_at) >= first + count, _BACK_SECONDS)
            seconds = time.monotonic() - terminated_at
            mine = _cpu_seconds(leaving, staying, bench) - mine
            machine = machine_cpu_seconds() - machine
            await asyncio.sleep(_CALM_SECONDS)
        await asyncio.sleep(_CALM_SECONDS)
        returns = crowd.opened_at[first:]
        away_ns = [int(seconds * 1e9) for seconds in crowd.away_seconds]
        first_closed_at = crowd.first_closed_at or terminated_at
        return Avalanche(
            server=contender.name,
            connections=count,
            back_seconds=max(returns) - terminated_at,
            first_closed_seconds=first_closed_at - terminated_at,
            highest_per_second=highest_rate(returns),
            highest_in_100_ms=round(highest_rate(returns, 0.1) * 0.1),
            away_p50_seconds=percentile(away_ns, 0.50) / 1e9,
            away_p99_seconds=percentile(away_ns, 0.99) / 1e9,
            attempts=crowd.attempts - first,
            refused=crowd.refused,
            events=published[0],
            missed=sum(published[0] - client.events for client in crowd.clients),
            doubled=sum(client.doubled for client in crowd.clients),
            told=sum(client.told > 0 for client in crowd.clients),
            others_busy=max(0.0, machine - mine) / seconds,
        )
    finally:
        await crowd.close()


def _cpu_seconds(leaving: Started, staying: Started, bench: Laboratory) -> float:
    """CPU time of all processes of the measurement."""
    servers = sum(server.process.cpu_seconds() for server in (leaving, staying))
    return servers + bench.broker.process.cpu_seconds() + time.process_time()


@contextlib.asynccontextmanager
async def _publishing(server: Started, events_per_second: float) -> AsyncIterator[list[int]]:
    """Publish events to all at a rate during the block. The list holds how many were published."""
    published = [0]
    ending = False

    async def publish() -> None:
        loop = asyncio.get_running_loop()
        while not ending:  # if cancelled in the middle, it would not count what it has published
            data = payload.encode(published[0])
            await loop.run_in_executor(thread, server.publisher.publish, [data])
            published[0] += 1
            await asyncio.sleep(1 / events_per_second)

    # The publishers block, and Clarion's runs a loop of its own.
    with ThreadPoolExecutor(max_workers=1) as thread:
        publishing = asyncio.create_task(publish())
        try:
            yield published
        finally:
            ending = True
            await publishing
