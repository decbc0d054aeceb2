"""Builds a publisher and runs it. This module alone creates the objects and connects them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import structlog
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.orders import Orders
from clarion_contract.bus.presence import PresenceRegister
from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.bus.topic_presence import TopicRegister
from clarion_contract.identity.keys import Keys
from clarion_contract.identity.tokens import verifier_of
from clarion_contract.redis.cluster import RedisCluster
from clarion_contract.redis.server import RedisServer
from clarion_contract.redis.version import check_version
from clarion_contract.service import descriptors
from clarion_contract.service.declared_events import DeclaredEvents
from clarion_contract.service.declaring import declared_events
from clarion_contract.service.described import described
from clarion_contract.service.http_port import HttpLimits, Port
from clarion_contract.service.internal import internal_app, service_registry
from clarion_contract.service.readiness import Health, HealthLog
from clarion_contract.service.redis_at_start import refuse_old_redis
from clarion_contract.service.settings import InvalidSettings
from clarion_contract.service.supervisor import Supervisor
from clarion_contract.service.telemetry import exports_traces, tracer_provider
from clarion_publisher.ingestion.admission import Admission
from clarion_publisher.ingestion.bus_probe import BusProbe
from clarion_publisher.ingestion.ingestion import Ingestion
from clarion_publisher.ingestion.rate_limit import RateLimit
from clarion_publisher.ingestion.tracing import PublishTracer
from clarion_publisher.ingestion.watched_bus import WatchedBus
from clarion_publisher.metrics import Metrics
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.http.callers import Callers
from clarion_publisher.sources.http.dependencies import Services
from clarion_publisher.sources.http.exchange import Bodies
from clarion_publisher.sources.http.source import HttpSource
from clarion_publisher.sources.http.texts import texts_of
from clarion_publisher.sources.http.users import Users
from clarion_publisher.sources.source import Source

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Drain:
    """Whether the pod is draining: not ready, but still serving."""

    begun: bool = False


class Publisher:
    """A publisher with running sources.

    Attributes:
        internal: the ASGI app of the internal port.
        port: the TCP connections of the public port.
        given_up: set when an essential job does not run. The publisher should then end.
    """

    def __init__(
        self,
        internal: Starlette,
        port: Port,
        drain: Drain,
        sources: Sequence[asyncio.Task[None]],
        given_up: asyncio.Event,
    ) -> None:
        self.internal = internal
        self.port = port
        self.drain = drain
        self.given_up = given_up
        self._sources = sources

    async def stop_sources(self) -> None:
        """Take no more events; return when the current ones are published or refused."""
        for task in self._sources:
            task.cancel()
        await asyncio.gather(*self._sources, return_exceptions=True)


@contextlib.asynccontextmanager
async def running(
    settings: PublisherSettings,
    public_port: socket.socket,
    *,
    sources: Sequence[Source] = (),
    provider: TracerProvider | None = None,
) -> AsyncIterator[Publisher]:
    """A publisher that takes events until the context ends.

    Args:
        public_port: a bound socket for HTTP.
        sources: sources of events besides HTTP.
        provider: exports spans; None: the ``OTEL_*`` variables decide whether spans are exported.

    Raises:
        InvalidSettings: a setting turned out to be wrong when it was used.
    """
    metrics = Metrics(service_registry())
    if provider is None and exports_traces():
        provider = tracer_provider("clarion-publisher", settings.pod)
    declared = declared_events(settings, metrics.catalogue)
    async with contextlib.aclosing(redis_from_url(settings.redis_address)) as redis:
        await refuse_old_redis(redis)
        bus = Bus(redis, settings.keyspace, settings.history, settings.replication)
        probe = _bus_probe(settings, bus, redis)
        queue = PublishQueue(WatchedBus(bus, metrics, probe), max_pending=settings.max_pending)
        rate_limit = RateLimit(
            events_per_second=settings.rate_events_per_second,
            burst_events=settings.rate_burst_events,
        )
        check = None if declared is None else declared.check
        ingestion = Ingestion(
            Admission(
                data_max_bytes=settings.data_max_bytes,
                check_declared=check,
            ),
            rate_limit,
            queue,
            PublishTracer(provider.get_tracer("clarion.publisher") if provider else None),
            metrics,
        )
        keys, callers = _callers(settings, metrics)
        bodies = Bodies(
            max_bytes=settings.body_max_bytes, total_max_bytes=settings.bodies_max_bytes
        )
        port = _port(settings, metrics)
        drain = Drain()
        all_sources: list[Source] = [
            HttpSource(
                settings,
                public_port,
                port,
                Services(
                    _users(settings, bus),
                    callers,
                    bodies,
                    metrics,
                    texts_of(settings, bus, rate_limit, check),
                ),
                keys,
                lambda: drain.begun,
                declared,
            ),
            *_outbox(settings, metrics),
            *_socketio(settings, bus, metrics),
            *sources,
        ]
        metrics.observe_pod(
            sockets=lambda: port.open,
            sockets_max=port.max_sockets,
            sockets_configured=settings.max_sockets,
            pending=lambda: queue.pending,
            body_bytes=lambda: bodies.held_bytes,
            draining=lambda: drain.begun,
            fault=lambda: probe.fault,
        )
        supervisor = Supervisor(metrics.job_failures)
        health = _health(drain, probe, supervisor, all_sources, declared)
        try:
            async with supervisor, asyncio.TaskGroup() as group:
                supervisor.keep("publish_queue", queue.run, essential=True)
                supervisor.keep("keys", keys.run)
                supervisor.keep("bus_probe", probe.run)
                if declared is not None:
                    supervisor.keep("catalogue", declared.run)
                supervisor.keep("health_log", HealthLog(health).run)
                publisher = Publisher(
                    internal_app(
                        metrics.registry,
                        health,
                        metrics.ready,
                        about=described("publisher", settings),
                    ),
                    port,
                    drain,
                    [group.create_task(source.run(ingestion)) for source in all_sources],
                    supervisor.given_up,
                )
                yield publisher
                await publisher.stop_sources()
        finally:
            await keys.aclose()
            if provider is not None:
                await asyncio.to_thread(provider.shutdown)


def _callers(settings: PublisherSettings, metrics: Metrics) -> tuple[Keys, Callers]:
    keys, verifier = verifier_of(settings)
    return keys, Callers(verifier, metrics)


def _port(settings: PublisherSettings, metrics: Metrics) -> Port:
    limits = HttpLimits(
        head_max_bytes=settings.request_head_max_bytes,
        request_seconds=settings.request_seconds,
        idle_seconds=settings.keep_alive_seconds,
        body_bytes_per_second=settings.body_bytes_per_second,
    )
    port = Port(limits, max_sockets=settings.max_sockets, refused=metrics.http_refused)
    if port.max_sockets < settings.max_sockets:
        _log.warning(
            "too few file descriptors for PUBLISHER_MAX_SOCKETS: the limit is lowered",
            configured=settings.max_sockets,
            effective=port.max_sockets,
            descriptors=descriptors.limit(),
            needed_hard_limit=descriptors.needed_for(settings.max_sockets),
        )
    return port


def _users(settings: PublisherSettings, bus: Bus) -> Users:
    return Users(
        Orders(bus, settings.keyspace, max_orders=settings.orders_max),
        PresenceRegister(bus, settings.keyspace),
        bus.position,
        token_max_seconds=settings.token_max_seconds,
        leeway_seconds=settings.jwt_leeway_seconds,
        disconnect_seconds=settings.history_max_age_seconds,
        topics=TopicRegister(bus, settings.keyspace),
        rules=settings.rules,
    )


def _health(
    drain: Drain,
    probe: BusProbe,
    supervisor: Supervisor,
    sources: Sequence[Source],
    declared: DeclaredEvents | None,
) -> Callable[[], Health]:
    def health() -> Health:
        reasons = supervisor.obstacles
        if drain.begun:
            reasons.append("draining")
        warnings: list[str] = []
        for source in sources:
            reasons += source.obstacles()
            warnings += source.warnings()
        bus = probe.health()
        if declared is not None:
            warnings += declared.warnings
        return Health((*reasons, *bus.reasons), (*bus.warnings, *warnings))

    return health


def _outbox(settings: PublisherSettings, metrics: Metrics) -> list[Source]:
    """The outbox if one is set.

    Raises:
        InvalidSettings: its driver is not installed, or does not understand the URL.
    """
    if settings.outbox_address is None:
        return []
    try:
        from clarion_publisher.sources.outbox.build import outbox_source  # noqa: PLC0415 - an extra
    except ImportError as error:
        problem = f"PUBLISHER_OUTBOX_URL needs Clarion's extra `postgres`: {error}"
        raise InvalidSettings([problem]) from None
    return [outbox_source(settings, metrics.registry)]


def _socketio(settings: PublisherSettings, bus: Bus, metrics: Metrics) -> list[Source]:
    """The producers of Socket.IO if their Redis is set."""
    url = settings.socketio_redis_url
    if url is None:
        return []
    from clarion_publisher.sources.socketio import build  # noqa: PLC0415 - slow, rarely used

    orders = Orders(bus, settings.keyspace, max_orders=settings.orders_max)
    return [build.socketio_source(settings, url, orders, metrics.registry)]


def _bus_probe(
    settings: PublisherSettings, bus: Bus, redis: RedisServer | RedisCluster
) -> BusProbe:
    waits = settings.wait_seconds if settings.wait_replicas else 0.0
    return BusProbe(
        bus,
        settings.pod,
        interval_seconds=settings.probe_interval_seconds,
        timeout_seconds=settings.probe_timeout_seconds + waits,
        check=functools.partial(check_version, redis),
    )
