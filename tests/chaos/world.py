"""The system under chaos: storage, publishers, gateways, and the failures that hit them.

The processes are real. Some are behind a TCP proxy that can break their connection to Redis. New
pods replace those that go, as a ReplicaSet would do it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio

from clarion_cli.plan import Plan
from clarion_cli.token import SCOPES, Signer
from tests.chaos import handlers
from tests.chaos.ledger import Ledger, number_of
from tests.chaos.producers import give, give_topics
from tests.chaos.revoking import Order
from tests.chaos.storage import REPLICAS, Clustered, Failover, SingleServer, Storage
from tests.cli.clarion import SECRET, environment
from tests.e2e.ports import free_ports
from tests.e2e.stack import Service
from tests.proxy import Proxy, proxied
from tests.valkey import Valkey

NAMESPACE = "chaos"
_PROXIED_SHARE = 0.7
OVERLAP_SECONDS = 3.5
"""The possible error of a position on a cluster, with the settings below."""
# Redis may be away meanwhile, and more than a hundred processes and clients share the machine.
_READY_SECONDS = 90.0

# Short, so that a scenario of seconds sees what takes a cluster minutes.
_SETTINGS = {
    "CLARION_WAIT_SECONDS": "0.5",
    "GATEWAY_PROBE_INTERVAL_SECONDS": "0.5",
    "GATEWAY_PROBE_TIMEOUT_SECONDS": "1",
    "GATEWAY_LINGER_SECONDS": "1",
    "GATEWAY_HANDSHAKE_SECONDS": "5",
    "GATEWAY_MAX_UNSENT_BYTES": "65536",
    "GATEWAY_DRAIN_PAUSE_SECONDS": "0.3",
    "GATEWAY_DRAIN_SPREAD_SECONDS": "1",
    "GATEWAY_DRAIN_GRACE_SECONDS": "2",
    "PUBLISHER_DRAIN_PAUSE_SECONDS": "0.3",
}


@dataclass
class World:
    """Everything that runs, and the addresses that a load balancer would choose.

    Attributes:
        redis_lock: held while Redis is stopped or started.
        deploy_lock: held while pods are started or stopped.
    """

    folder: Path
    storage: Storage
    ledger: Ledger
    dice: random.Random
    varied: Mapping[str, Sequence[str]] = field(default_factory=dict)
    gateways: list[Service] = field(default_factory=list)
    publishers: list[Service] = field(default_factory=list)
    proxies: list[Proxy] = field(default_factory=list)
    redis_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    deploy_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    signer: Signer = field(default_factory=lambda: Signer(SECRET))

    def __post_init__(self) -> None:
        self._started: list[Service] = []
        self._numbers = itertools.count()
        self._pods = AsyncExitStack()

    @contextlib.asynccontextmanager
    async def running(self, *, gateways: int, publishers: int) -> AsyncIterator[None]:
        """A world with everything started and ready; at the end everything is killed."""
        try:
            async with self._pods:
                await asyncio.to_thread(self.storage.start)
                self.publishers, self.gateways = await asyncio.gather(
                    self._start_all(publishers, self._publisher),
                    self._start_all(gateways, self._gateway),
                )
                yield
        finally:
            for service in self._started:
                service.kill()
            self.storage.stop()

    def gateway(self) -> str:
        """The gateway that the load balancer chooses for a client."""
        return self.dice.choice(self.gateways).url

    def publisher(self) -> str:
        """The publisher that the load balancer chooses for a request."""
        return self.dice.choice(self.publishers).url

    def producer_token(self) -> str:
        return self.signer.sign("chaos", scope=" ".join(SCOPES), expires_seconds=86_400)

    async def pause_redis(self, seconds: float) -> None:
        async with self.redis_lock:
            server = self.storage.server
            server.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                server.signal(signal.SIGCONT)

    async def restart_redis(self, away_seconds: float, *, empty: bool = False) -> None:
        async with self.redis_lock:
            assert isinstance(self.storage, SingleServer)
            await asyncio.to_thread(self.storage.restart, away_seconds, empty=empty)

    async def fail_over(self, away_seconds: float, *, hangs: bool) -> None:
        async with self.redis_lock:
            assert isinstance(self.storage, Failover)
            await asyncio.to_thread(self.storage.fail_over, away_seconds, hangs=hangs)

    async def fail_over_in_cluster(self, away_seconds: float, number: int) -> None:
        async with self.redis_lock:
            assert isinstance(self.storage, Clustered)
            await asyncio.to_thread(self.storage.fail_over, away_seconds, number=number)

    async def lose_replica(self, away_seconds: float) -> None:
        async with self.redis_lock:
            assert isinstance(self.storage, Failover)
            await asyncio.to_thread(self.storage.lose_replica, away_seconds)

    async def give(self, order: Order, dice: random.Random) -> None:
        """Give an order through any publisher, with as many attempts as it takes."""
        await give(self.ledger.ordered(order), self.publisher, self.producer_token(), dice)

    async def give_topics(
        self, user: str, change: dict[str, list[str]], dice: random.Random
    ) -> None:
        """Change what a user's connections receive, through any publisher."""
        await give_topics(user, change, self.publisher, self.producer_token(), dice)

    async def ask_redis(self, *command: str) -> None:
        async with self.redis_lock:
            for server in self.storage.servers:
                async with self._redis(server) as client:
                    await client.execute_command(*command)

    async def replace_gateway(self, *, killed: bool) -> None:
        """Replace a gateway, after SIGKILL or as in a rolling deploy."""
        async with self.deploy_lock:
            old = self.dice.choice(self.gateways)
            if killed:
                self.gateways.remove(old)
                await asyncio.to_thread(old.kill)
                self.gateways += await self._start_all(1, self._gateway)
                return
            self.gateways += await self._start_all(1, self._gateway)
            self.gateways.remove(old)
            old.terminate()
            assert await asyncio.to_thread(old.wait) == 0, old.log.read_text()[-2_000:]

    async def kill_publisher(self) -> None:
        async with self.deploy_lock:
            old = self.dice.choice(self.publishers)
            old.kill()
            self.publishers.remove(old)
            self.publishers += await self._start_all(1, self._publisher)

    async def logged(self) -> list[tuple[int, int]]:
        """Id and number of every event in Redis' logs."""
        found = []
        for server in self.storage.servers:
            async with self._redis(server) as client:
                async for key in client.scan_iter(match=f"{NAMESPACE}:*:log"):
                    if b"pod:" in key or b"shard:" in key:  # probes
                        continue
                    for entry, fields in await client.xrange(key):
                        found.append((int(entry.partition(b"-")[0]), number_of(fields[b"d"])))
        return found

    def logs(self) -> list[str]:
        """Log lines of the services that should not exist: unforeseen failures."""
        lines = []
        for service in self._started:
            for line in service.log.read_text(errors="replace").splitlines():
                if "Traceback" in line or '"level":"critical"' in line:
                    lines.append(f"{service.program.name}: {line[:2_000]}")
        return lines

    def _redis(self, server: Valkey) -> Any:  # redis-py's types know no binary answers
        return redis.asyncio.Redis(port=server.port)

    async def _start_all(self, count: int, make: Callable[[str], Service]) -> list[Service]:
        """Start pods, each with its own connection to Redis; return when all are ready."""
        services = [make(await self._way_to_redis()) for _ in range(count)]
        for service in services:
            self._started.append(service)
            service.start()
        for service in services:
            await asyncio.to_thread(service.wait_until_ready, _READY_SECONDS)
        return services

    async def _way_to_redis(self) -> str:
        """The URL of Redis for a pod. Sentinels and clusters lead past any proxy."""
        if isinstance(self.storage, Failover | Clustered) or self.dice.random() >= _PROXIED_SHARE:
            return self.storage.url
        proxy = await self._pods.enter_async_context(proxied(self.storage.server.port))
        self.proxies.append(proxy)
        return proxy.url

    def _gateway(self, redis_url: str) -> Service:
        plan, index = self._plan()
        return Service(
            plan.gateway(index, redis_url, self._environment()),
            f"http://127.0.0.1:{plan.gateway_port + index}",
            f"http://127.0.0.1:{plan.gateway_internal_port + index}",
            self.folder / f"gateway-{index + 1}.log",
        )

    def _publisher(self, redis_url: str) -> Service:
        plan, index = self._plan()
        return Service(
            plan.publisher(redis_url, self._environment()),
            plan.addresses.publisher,
            f"http://127.0.0.1:{plan.publisher_internal_port}",
            self.folder / f"publisher-{index + 1}.log",
        )

    def _plan(self) -> tuple[Plan, int]:
        """Ports and a number for the next pod: no two pods share a name."""
        index = next(self._numbers)
        first = free_ports(2)
        plan = Plan(
            secret=SECRET,
            gateways=1,
            gateway_port=first - index,
            gateway_internal_port=first + 1 - index,
            publisher_port=first,
            publisher_internal_port=first + 1,
            redis_url=None,
            handlers=handlers.MOUNTED,
            pretty=False,
        )
        return plan, index

    def _environment(self) -> dict[str, str]:
        """Of the next pod: some settings are drawn anew, so that they change between restarts."""
        replicas = REPLICAS if isinstance(self.storage, Failover) else 0
        if isinstance(self.storage, Clustered):
            replicas = 1
        return environment(
            CLARION_NAMESPACE=NAMESPACE,
            CLARION_WAIT_REPLICAS=str(replicas),
            **_SETTINGS,
            **{name: self.dice.choice(values) for name, values in self.varied.items()},
        )
