"""A real publisher on real ports in its own thread, and what producers need to call it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import uvloop

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.orders import Order, Orders, decode_order
from clarion_contract.bus.presence import PodLoad, PresenceEntry, PresenceRegister
from clarion_contract.bus.topic_presence import TopicRegister
from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Event
from clarion_contract.events.topic_members import TopicEntry
from clarion_contract.service.serving import bind
from clarion_publisher.server import serve_on
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.source import Source
from tests.conftest import SECRET

ALL_SCOPES = (
    "publish:all publish:authenticated publish:user publish:topic users:disconnect users:read "
    "users:topics"
)


def token(subject: str = "orders", scope: str = ALL_SCOPES, **claims: Any) -> str:
    payload = {"sub": subject, "scope": scope, "exp": time.time() + 600, **claims}
    return jwt.encode(payload, SECRET)


def bearer(subject: str = "orders", scope: str = ALL_SCOPES, **claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {token(subject, scope, **claims)}"}


@dataclass(frozen=True, slots=True)
class Service:
    settings: PublisherSettings
    port: int
    internal_port: int
    stop: Callable[[], None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        """A producer with every scope."""
        headers = {**bearer(), "content-type": "application/json", **options.pop("headers", {})}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, **options)

    def published(self, audience: Audience, since: int = 0) -> list[Event]:
        """The events in an audience's log, as a gateway would read them."""
        return asyncio.run(self._history(audience, since))

    def orders(self) -> list[Order]:
        """The orders that gateways would find when they return to Redis."""
        return asyncio.run(self._orders())

    def register(self, pod: str, load: PodLoad, entries: Mapping[str, PresenceEntry]) -> str:
        """Register a gateway pod with these users; returns its name."""
        return asyncio.run(self._register(pod, load, entries))

    def hold(self, name: str, topic: str, entry: TopicEntry) -> None:
        """Let a registered gateway pod hold members of a topic."""
        asyncio.run(self._hold(name, topic, entry))

    async def _hold(self, name: str, topic: str, entry: TopicEntry) -> None:
        settings = self.settings
        bus = Bus(redis_from_url(settings.redis_url), settings.keyspace, settings.history)
        await TopicRegister(bus, settings.keyspace).write(name, [(topic, entry)])
        await bus.aclose()

    async def _register(self, pod: str, load: PodLoad, entries: Mapping[str, PresenceEntry]) -> str:
        settings = self.settings
        bus = Bus(redis_from_url(settings.redis_url), settings.keyspace, settings.history)
        register = PresenceRegister(bus, settings.keyspace)
        name = (await register.begin(pod, load, timeout_seconds=60)).name
        assert name is not None
        await register.write(name, list(entries.items()))
        await bus.aclose()
        return name

    async def _orders(self) -> list[Order]:
        settings = self.settings
        bus = Bus(redis_from_url(settings.redis_url), settings.keyspace, settings.history)
        orders = await Orders(bus, settings.keyspace, max_orders=settings.orders_max).read()
        await bus.aclose()
        return [decode_order(text) for text in orders]

    async def _history(self, audience: Audience, since: int) -> list[Event]:
        settings = self.settings
        bus = Bus(redis_from_url(settings.redis_url), settings.keyspace, settings.history)
        (history,) = await bus.history([(audience, since)], limit=10_000, broken_too=True)
        await bus.aclose()
        return history.events

    def internal(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.internal_port}{path}", trust_env=False)

    def metric(self, sample: str) -> float:
        """The value of one sample, such as ``name{label="value"}``; 0 while there is none."""
        for line in self.internal("/metrics").text.splitlines():
            if line.startswith(f"{sample} "):
                return float(line.rpartition(" ")[2])
        return 0.0


@contextlib.contextmanager
def serving(
    redis_url: str, *, sources: Sequence[Source] = (), **overrides: Any
) -> Iterator[Service]:
    """Run a publisher with special settings, and with sources besides HTTP."""
    settings = PublisherSettings(
        **{
            "redis_url": redis_url,
            "jwt_secret": SECRET,
            "host": "127.0.0.1",
            "internal_host": "127.0.0.1",
            "drain_pause_seconds": 0,
            "pod": "publisher-test",
            **overrides,
        }
    )
    ports = [bind("127.0.0.1", 0), bind("127.0.0.1", 0)]
    stopping = asyncio.Event()
    loop = uvloop.new_event_loop()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(serve_on(settings, ports[0], ports[1], stopping, sources=sources))
        except BaseException as failure:  # noqa: BLE001 - raised again by the test's thread
            failures.append(failure)

    thread = threading.Thread(target=run)

    def stop() -> None:
        if thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
        thread.join()

    service = Service(settings, *[port.getsockname()[1] for port in ports], stop)
    thread.start()
    try:
        yield service
    finally:
        stop()
        for port in ports:
            port.close()
        if failures:
            raise failures[0]
