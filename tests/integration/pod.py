"""A real gateway in the test's own event loop, on a real port and a real Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import jwt

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.event import Publication, Published
from clarion_contract.redis.server import Replication
from clarion_contract.service.internal_server import InternalServer
from clarion_contract.service.serving import Server, bind
from clarion_gateway.app import Gateway, running
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.transports.http import gateway_protocol
from clarion_gateway.transports.routes import Routes
from clarion_gateway.transports.socketio.internal import internal_protocol
from tests.conftest import SECRET

SECONDS = 30.0
"""How long a test waits for what should come at once."""


def token(user: str, seconds: float = 600, *, key: str = SECRET, **claims: Any) -> str:
    return jwt.encode({"sub": user, "exp": time.time() + seconds, **claims}, key, "HS256")


async def eventually(
    condition: Callable[[], Awaitable[Any]], *, seconds: float = SECONDS, what: str = ""
) -> None:
    """Return once the condition holds; checks every few milliseconds."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(0.005)


@dataclass
class Pod:
    """A running gateway, and a publisher's access to its bus."""

    gateway: Gateway
    settings: GatewaySettings
    port: int
    bus: Bus
    internal: httpx.AsyncClient

    def url(self, path: str = "/ws") -> str:
        scheme = "ws" if path.startswith("/ws") else "http"
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    async def publish(
        self,
        audience: Audience = ALL,
        type_: str = "tick",
        data: bytes = b"{}",
        *,
        exclude: str | None = None,
        trace: str | None = None,
        history: bool = True,
    ) -> int:
        """Publish one event; returns its id."""
        publication = Publication(
            audience, type_, data, exclude=exclude, trace=trace, history=history
        )
        (answer,) = await self.bus.publish([publication])
        assert isinstance(answer, Published), answer
        return answer.id

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels; 0 while there are none."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        total = 0.0
        for line in (await self.internal.get("/metrics")).text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(label in sample for label in wanted):
                total += float(value)
        return total

    async def counted(self, name: str, value: float = 1, **labels: str) -> None:
        """Wait until a metric has reached a value."""

        async def reached() -> bool:
            return await self.metric(name, **labels) >= value

        await eventually(reached, what=f"{name} {labels} >= {value}")

    async def readiness(self) -> tuple[int, list[str]]:
        """Status and reasons of ``/readyz``."""
        response = await self.internal.get("/readyz")
        return response.status_code, response.json()["reasons"]

    async def warned(self) -> list[str]:
        """Wait until ``/readyz`` has warnings; the pod must stay ready meanwhile."""
        warnings: list[str] = []

        async def says() -> bool:
            answer = await self.internal.get("/readyz")
            assert answer.status_code == 200, answer.text
            warnings[:] = answer.json().get("warnings", ())
            return bool(warnings)

        await eventually(says, what="a warning")
        return warnings

    async def ready(self) -> None:
        async def is_ready() -> bool:
            return (await self.readiness())[0] == 200

        await eventually(is_ready, what="ready")


def settings_of(redis_url: str, namespace: str, **overrides: Any) -> GatewaySettings:
    return GatewaySettings(
        **{
            "redis_url": redis_url,
            "namespace": namespace,
            "jwt_secret": SECRET,
            "jwt_leeway_seconds": 0,
            "handshake_seconds": SECONDS,
            "pod": "pod-test",
            "drain_pause_seconds": 0,
            "drain_spread_seconds": 0,
            "drain_grace_seconds": 0.5,
            **overrides,
        }
    )


@contextlib.asynccontextmanager
async def started(
    redis_url: str,
    namespace: str,
    *,
    wait: bool = True,
    routes: Routes | None = None,
    reachable: bool = False,
    **overrides: Any,
) -> AsyncIterator[Pod]:
    """A gateway until the context ends; with ``wait``, a ready one.

    Args:
        reachable: whether it has an internal port, so that other gateways reach it.
    """
    internal_listener = bind("127.0.0.1", 0) if reachable else None
    if internal_listener is not None:
        overrides["internal_host"], overrides["internal_port"] = internal_listener.getsockname()
    settings = settings_of(redis_url, namespace, **overrides)
    listener = bind("127.0.0.1", 0, unread_seconds=settings.unread_seconds)
    bus = Bus(redis_from_url(redis_url), settings.keyspace, settings.history)
    try:
        async with running(settings) as gateway:
            server = Server(
                gateway.public,
                listener,
                http=gateway_protocol(gateway.sessions, routes, gateway.hops),
                ws="none",
            )
            servers = [server]
            if internal_listener is not None:
                protocol = internal_protocol(gateway.sessions, lambda reason: None)
                servers.append(InternalServer(gateway.internal, internal_listener, protocol))
            serving = asyncio.gather(*(each.run_until_stopped() for each in servers))
            transport = httpx.ASGITransport(gateway.internal)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://internal"
            ) as internal:
                pod = Pod(gateway, settings, listener.getsockname()[1], bus, internal)
                try:
                    if wait:
                        await pod.ready()
                    yield pod
                finally:
                    await gateway.drain.run()
                    for each in servers:
                        each.stop()
                    await gateway.hops.aclose()
                    await serving
    finally:
        await bus.aclose()


@contextlib.asynccontextmanager
async def waiting(pod: Pod) -> AsyncIterator[Pod]:
    """A pod whose events count as published only when a replica has them."""
    settings = pod.settings
    redis = redis_from_url(settings.redis_url)
    bus = Bus(redis, settings.keyspace, settings.history, Replication(1, 1))
    try:
        yield replace(pod, bus=bus)
    finally:
        await bus.aclose()
