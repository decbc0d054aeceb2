"""Soak: many sockets and mixed events on one gateway for a long time, to see if anything grows.

Two thirds of the sockets belong to users, with a token each; the rest are anonymous. Events go to
all, to the authenticated and to single users in turn. In addition a few hundred clients come and go
all the time, and resume. Memory, tasks, files and the loop's lag are read every few seconds.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

from clarion_bench import clarion, payload
from clarion_bench.crowd import Crowd
from clarion_bench.dialects import CLARION
from clarion_bench.inside import QUESTION
from clarion_bench.laboratory import Laboratory
from clarion_bench.processes import ServerProcess, free_port
from clarion_bench.publishers import Publisher
from clarion_bench.results import Moment, Soak, percentile
from clarion_bench.returning import ClarionPolicy, Returning
from clarion_bench.window import machine_cpu_seconds
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, user_audience

# Of four events, one goes to all, one to the authenticated, and two to one user each.
_PATTERN = 4
_SAMPLED = 20
_TICK_SECONDS = 0.02
_SETTLE_SECONDS = 20.0
_OPEN_SECONDS = 120.0
_MOMENTS = 120


@dataclass(frozen=True)
class SoakOptions:
    """The size of a soak: its sockets, its length, and its load."""

    connections: int = 10_000
    seconds: float = 1_200.0
    events_per_second: float = 10.0
    comers: int = 200
    comings_per_second: float = 10.0


@dataclass
class _Due:
    """The number of deliveries that the events published so far should have caused."""

    users: int
    anonymous: int
    events: int = 0
    to_all: int = 0
    to_authenticated: int = 0
    to_users: int = 0

    def audience(self, number: int) -> Audience:
        """The audience of event number `number`."""
        turn, kind = divmod(number, _PATTERN)
        if kind == 0:
            return ALL
        if kind == 1:
            return AUTHENTICATED
        return user_audience(clarion.user((2 * turn + kind - 2) % self.users))

    def count(self, number: int) -> None:
        """Count event number `number`, which has been published."""
        kind = number % _PATTERN
        self.events += 1
        self.to_all += kind == 0
        self.to_authenticated += kind == 1
        self.to_users += kind > 1

    @property
    def anonymous_each(self) -> int:
        """Events due to each anonymous socket."""
        return self.to_all

    @property
    def user_least(self) -> int:
        """Events due to each user's socket at least; one more may have had its turn."""
        return self.to_all + self.to_authenticated + self.to_users // self.users

    @property
    def total(self) -> int:
        """Deliveries to all sockets except those of the clients that come and go."""
        everybody = (self.users + self.anonymous) * self.to_all
        return everybody + self.users * self.to_authenticated + self.to_users


@dataclass
class _Sockets:
    """All connected sockets."""

    anonymous: Crowd
    users: Crowd
    comers: Returning
    latencies_ns: list[int] = field(default_factory=list)

    def close(self) -> None:
        self.anonymous.close()
        self.users.close()


def soak(
    options: SoakOptions, bench: Laboratory, announce: Callable[[str], None]
) -> Iterator[Soak]:
    """Yield one result at the end."""
    port = free_port()
    launch = clarion.gateway(port, bench.broker.url)
    env = {**launch.env, "GATEWAY_HANDLERS": "clarion_bench.inside:handlers"}
    users = options.connections * 2 // 3
    due = _Due(users, options.connections - users)
    metrics = f"http://127.0.0.1:{env['GATEWAY_INTERNAL_PORT']}/metrics"
    with (
        bench.serving("gateway", replace(launch, env=env)) as process,
        contextlib.closing(clarion.BusPublisher(bench.broker.url, due.audience)) as publisher,
    ):
        sockets = _Sockets(
            Crowd(port, CLARION, stride=_PATTERN),
            Crowd(port, CLARION),
            Returning(ClarionPolicy(), port, [""] * options.comers, stride=_PATTERN),
        )
        with contextlib.closing(sockets), _asking(port) as gateway:
            announce(f"opening {options.connections:,} sockets")
            sockets.anonymous.open([""] * due.anonymous, sampled=_SAMPLED)
            sockets.users.open(clarion.queries(due.users))
            watch = _Watch(process, metrics, gateway, sockets, due)
            yield asyncio.run(_run(options, bench, sockets, publisher, watch, announce))


class _Watch:
    """Reads the figures of one moment after the other."""

    def __init__(
        self,
        process: ServerProcess,
        metrics: str,
        gateway: ClientConnection,
        sockets: _Sockets,
        due: _Due,
    ) -> None:
        self.process = process
        self.due = due
        self._metrics = metrics
        self._gateway = gateway
        self._sockets = sockets
        self._began = self._at = time.monotonic()
        self._cpu_seconds = process.cpu_seconds()
        self.moments: list[Moment] = []
        self.client_cpu_seconds = 0.0

    def take(self) -> None:
        """Read all figures; blocks for some tens of milliseconds."""
        due = self.due.total
        tallies = [self._sockets.anonymous.tally(), self._sockets.users.tally()]
        self._sockets.latencies_ns += tallies[0].latencies_ns
        self.client_cpu_seconds = sum(tally.cpu_seconds for tally in tallies)
        now, cpu = time.monotonic(), self.process.cpu_seconds()
        moment = Moment(
            seconds=now - self._began,
            memory_bytes=self.process.memory_bytes(),
            resident_bytes=self.process.resident_bytes(),
            tasks=self._tasks(),
            files=self.process.files(),
            lag_seconds=self._lag_seconds(),
            cpu_share=(cpu - self._cpu_seconds) / max(now - self._at, 1e-9),
            due=due,
            delivered=sum(tally.events for tally in tallies),
        )
        self._at, self._cpu_seconds = now, cpu
        self.moments.append(moment)

    def _tasks(self) -> int:
        self._gateway.send(json.dumps({"kind": "message", "type": QUESTION}))
        while True:
            message = json.loads(self._gateway.recv(timeout=10))
            if message["kind"] == "reply":
                return int(message["data"])

    def _lag_seconds(self) -> float:
        with urlopen(self._metrics, timeout=10) as page:  # noqa: S310 - a loopback URL made by us
            for line in page.read().decode().splitlines():
                if line.startswith("clarion_loop_lag_seconds "):
                    return float(line.split()[1])
        raise RuntimeError("expected clarion_loop_lag_seconds among the metrics")


@contextlib.contextmanager
def _asking(port: int) -> Iterator[ClientConnection]:
    """A socket for questions to the gateway. The events that it receives are thrown away."""
    with connect(f"ws://127.0.0.1:{port}/ws", proxy=None, max_queue=None) as connection:
        yield connection


async def _run(
    options: SoakOptions,
    bench: Laboratory,
    sockets: _Sockets,
    publisher: Publisher,
    watch: _Watch,
    announce: Callable[[str], None],
) -> Soak:
    """Publish, let clients come and go, and read figures, until the time is over."""
    loop = asyncio.get_running_loop()
    machine, mine = machine_cpu_seconds(), _own_cpu_seconds(bench, watch)
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=1) as thread:
        await sockets.comers.connect(_OPEN_SECONDS)
        going = asyncio.create_task(_come_and_go(sockets.comers, options.comings_per_second))
        next_moment = began
        while (elapsed := time.monotonic() - began) < options.seconds:
            count = int(elapsed * options.events_per_second) + 1 - watch.due.events
            if count > 0:
                numbers = range(watch.due.events, watch.due.events + count)
                data = [payload.encode(number) for number in numbers]
                await loop.run_in_executor(thread, publisher.publish, data)
                for number in numbers:
                    watch.due.count(number)
            if time.monotonic() >= next_moment:
                next_moment += options.seconds / _MOMENTS
                await loop.run_in_executor(thread, watch.take)
                left = options.seconds - elapsed
                announce(f"{options.connections:,} sockets, {left:,.0f} s to go")
            await asyncio.sleep(_TICK_SECONDS)
        going.cancel()
        await _settle(sockets, watch)
        await loop.run_in_executor(thread, watch.take)
    seconds = time.monotonic() - began
    others = machine_cpu_seconds() - machine - (_own_cpu_seconds(bench, watch) - mine)
    result = _result(options, sockets, watch, seconds, max(0.0, others) / seconds)
    await sockets.comers.close()
    return result


async def _come_and_go(comers: Returning, per_second: float) -> None:
    """Cut one client's connection after the other; each client reconnects and resumes by itself."""
    while True:
        random.choice(comers.clients).close()  # noqa: S311 - no secret
        await asyncio.sleep(1 / per_second)


async def _settle(sockets: _Sockets, watch: _Watch) -> None:
    """Wait until everything due has arrived, or for long enough."""
    comers = sockets.comers
    with contextlib.suppress(TimeoutError):
        await comers.until(
            lambda: (
                sockets.anonymous.events + sockets.users.events >= watch.due.total
                and comers.open == len(comers.clients)
            ),
            _SETTLE_SECONDS,
        )


def _own_cpu_seconds(bench: Laboratory, watch: _Watch) -> float:
    """CPU time of all processes of the measurement."""
    broker = bench.broker.process.cpu_seconds()
    return broker + watch.process.cpu_seconds() + watch.client_cpu_seconds + time.process_time()


def _result(
    options: SoakOptions, sockets: _Sockets, watch: _Watch, seconds: float, others_busy: float
) -> Soak:
    due, last = watch.due, watch.moments[-1]
    anonymous, users = sockets.anonymous.tally(), sockets.users.tally()
    comers = sockets.comers.clients
    even = (
        anonymous.fewest == anonymous.most == due.anonymous_each
        and due.user_least <= users.fewest <= users.most <= due.user_least + 1
        and anonymous.misordered == 0
    )
    return Soak(
        connections=options.connections,
        users=due.users,
        seconds=seconds,
        events=due.events,
        due=due.total,
        lost=max(0, due.total - last.delivered) + sum(client.lost for client in comers),
        doubled=max(0, last.delivered - due.total) + sum(client.doubled for client in comers),
        even=even,
        closed=anonymous.closed + users.closed,
        resumed=len(sockets.comers.opened_at) - len(comers),
        p50_ms=percentile(sockets.latencies_ns, 0.50) / 1e6,
        p99_ms=percentile(sockets.latencies_ns, 0.99) / 1e6,
        moments=watch.moments,
        others_busy=others_busy,
    )
