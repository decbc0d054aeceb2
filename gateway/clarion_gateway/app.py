"""Runs a gateway: its parts, its jobs, and the application's life around them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.types import ASGIApp

from clarion_contract.bus.bus import redis_from_url
from clarion_contract.service import descriptors
from clarion_contract.service.described import described
from clarion_contract.service.internal import internal_app
from clarion_contract.service.redis_at_start import refuse_old_redis
from clarion_contract.service.settings import InvalidSettings
from clarion_contract.service.telemetry import exports_traces, tracer_provider
from clarion_gateway.application.scope import LifespanFailed, living
from clarion_gateway.asyncapi.document import asyncapi_document
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.fleet.drain import Drain
from clarion_gateway.fleet.pod_addresses import own_address
from clarion_gateway.jobs import ESSENTIAL, jobs_of
from clarion_gateway.parts import Parts
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.transports.posts import Posts
from clarion_gateway.transports.public import public_app
from clarion_gateway.transports.socketio.hops import Hops

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway, built and running.

    Attributes:
        public: the ASGI app behind the public port, for all paths but /ws and /sse.
        internal: the ASGI app of the internal port.
        sessions: take the connections of the public port's protocol.
        hops: pass on to other pods what belongs to their sessions.
        drain: empties the pod before it ends.
        given_up: set when a job that the gateway needs fails for good: drain and end then.
    """

    public: ASGIApp
    internal: Starlette
    sessions: Sessions
    hops: Hops
    drain: Drain
    given_up: asyncio.Event


@contextlib.asynccontextmanager
async def running(
    settings: GatewaySettings, provider: TracerProvider | None = None
) -> AsyncIterator[Gateway]:
    """Build a gateway; its tasks run until the context ends.

    Args:
        provider: exports spans. None: the ``OTEL_*`` variables decide whether and where to.

    Raises:
        InvalidSettings: a setting turned out to be wrong when it was used.
    """
    configured, settings = settings.max_connections, _within_descriptors(settings)
    if provider is None and exports_traces():
        provider = tracer_provider("clarion-gateway", settings.pod)
    async with contextlib.aclosing(redis_from_url(settings.redis_address)) as redis:
        await refuse_old_redis(redis)
        parts = Parts(settings, redis, await own_address(settings), provider)
        parts.connect()
        try:
            async with _alive(parts), parts.supervisor:
                _observe(parts, configured)
                for name, job in jobs_of(parts).items():
                    parts.supervisor.keep(name, job, essential=name in ESSENTIAL)
                yield _gateway(parts)
                # Handlers under way are cancelled too: they had time to end while the pod drained.
                await parts.presence.leave()
                if parts.transitions is not None:
                    await parts.transitions.leave()
        finally:
            await parts.keys.aclose()
            if provider is not None:
                await asyncio.to_thread(provider.shutdown)


def _gateway(parts: Parts) -> Gateway:
    return Gateway(
        public_app(
            parts.settings,
            lambda: parts.drain.begun,
            functools.partial(_asyncapi, parts),
            Posts(parts.posting, parts.sessions) if parts.settings.sse_messages else None,
        ),
        internal_app(
            parts.metrics.registry,
            parts.health,
            parts.metrics.ready,
            warnings=lambda: [*parts.presence.namesakes.warnings, *parts.answers.warnings],
            about=described("gateway", parts.settings),
        ),
        parts.sessions,
        parts.hops,
        parts.drain,
        parts.supervisor.given_up,
    )


def _asyncapi(parts: Parts, url: str) -> dict[str, Any]:
    """The AsyncAPI document as of now: the catalogue may have changed since the start."""
    declared = parts.answers.declared
    catalogue = None if declared is None else declared.catalogue
    return asyncapi_document(parts.answers.handlers, catalogue, url=url)


def _observe(parts: Parts, configured_connections: int) -> None:
    """Let the metrics read the parts' state when Prometheus asks."""
    hub, subscription = parts.hub, parts.subscription
    parts.metrics.observe_pod(
        held=lambda: hub.held,
        carriers=lambda: parts.sessions.carriers,
        unsent_bytes=lambda: hub.unsent_bytes,
        outbound_bytes=lambda: hub.outbound.waiting.used_bytes,
        inbound_bytes=lambda: parts.inbound.used_bytes,
        users=lambda: len(hub.users),
        topics=lambda: hub.topics,
        sockets=lambda: parts.sessions.port.open,
        replay_bytes=lambda: parts.replay.room.used_bytes,
        pending=lambda: parts.delivery.pending,
        verified_age_seconds=lambda: subscription.verified_age_seconds,
        loop_lag_seconds=lambda: parts.sweeper.lag_seconds,
        draining=lambda: parts.drain.begun,
        revocations=lambda: len(parts.revocations),
        presence_pending=lambda: parts.presence.pending,
        disconnects_pending=lambda: parts.hooks.unfinished,
        namesakes=lambda: parts.presence.namesakes.count,
        max_connections=parts.settings.max_connections,
        configured_connections=configured_connections,
        fault=lambda: subscription.trouble.fault if subscription.trouble else None,
    )


def _within_descriptors(settings: GatewaySettings) -> GatewaySettings:
    """The settings with as many connections as the process may open sockets."""
    fitting = settings.within(descriptors.for_sockets())
    if fitting is not settings:
        _log.warning(
            "too few file descriptors for GATEWAY_MAX_CONNECTIONS: the limit is lowered",
            configured=settings.max_connections,
            effective=fitting.max_connections,
            descriptors=descriptors.limit(),
            needed_hard_limit=descriptors.needed_for(settings.max_sockets),
        )
    return fitting


@contextlib.asynccontextmanager
async def _alive(parts: Parts) -> AsyncIterator[None]:
    """The life of the application: what it opens at the start closes after the drain."""
    settings = parts.settings
    try:
        async with living(
            parts.answers.handlers.scopes,
            limit_seconds=settings.lifespan_seconds,
            failed_to_end=_log.error,
        ):
            yield
    except LifespanFailed as failed:
        raise InvalidSettings([f"GATEWAY_HANDLERS={settings.handlers}: {failed}"]) from None
    finally:
        await parts.answers.aclose()
