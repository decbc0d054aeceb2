"""Builds a publisher: the only place where its objects are made and joined."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from starlette import routing
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.orders import Orders
from clarion_contract.bus.presence import PresenceRegister
from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.identity.tokens import Keys, verifier_of
from clarion_contract.service.http_port import HttpLimits, Port
from clarion_contract.service.internal import Readiness, internal_app, service_registry
from clarion_contract.service.serving import RESPONSE_HEADERS
from clarion_contract.service.telemetry import exports_traces, tracer_provider
from clarion_publisher.admission import Admission
from clarion_publisher.authorise import DISCONNECT_USERS, READ_USERS
from clarion_publisher.callers import Callers
from clarion_publisher.exchange import Bodies
from clarion_publisher.metrics import Metrics
from clarion_publisher.openapi import openapi_document
from clarion_publisher.problems import CONTENT_TYPE, INTERNAL, Refusal, of_status
from clarion_publisher.rate_limit import RateLimit
from clarion_publisher.routes import BATCH, BATCH_PATH, EVENTS_PATH, UNKNOWN, Publishing, Route
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.tracing import PublishTracer
from clarion_publisher.users import (
    CONNECTIONS_PATH,
    DISCONNECT_PATH,
    REVOKE_TOKEN_PATH,
    REVOKE_USER_PATH,
    USER_PATH,
    Handle,
    Operation,
    Users,
)
from clarion_publisher.watched_bus import WatchedBus

_READINESS_SECONDS: Final = 1.0


@dataclass(slots=True)
class Drain:
    """Whether the pod is on its way out: not ready, still serving."""

    begun: bool = False


@dataclass(frozen=True, slots=True)
class Publisher:
    """A publisher, built and running.

    Attributes:
        public: the ASGI app of the public port.
        internal: the ASGI app of the internal port.
        port: the TCP connections of the public port.
    """

    public: ASGIApp
    internal: Starlette
    port: Port
    drain: Drain


@contextlib.asynccontextmanager
async def running(
    settings: PublisherSettings, provider: TracerProvider | None = None
) -> AsyncIterator[Publisher]:
    """A publisher whose tasks run until the context ends.

    Args:
        provider: where spans go; None: where the ``OTEL_*`` variables say, or nowhere.

    Raises:
        InvalidSettings: a setting that only shows to be wrong when it is used.
    """
    metrics = Metrics(service_registry())
    if provider is None and exports_traces():
        provider = tracer_provider("clarion-publisher", settings.pod)
    redis = redis_from_url(settings.redis_url)
    bus = Bus(redis, settings.keyspace, settings.history, settings.replication)
    queue = PublishQueue(WatchedBus(bus, metrics), max_pending=settings.max_pending)
    keys, verifier = verifier_of(settings)
    bodies = Bodies(max_bytes=settings.body_max_bytes, total_max_bytes=settings.bodies_max_bytes)
    publishing = Publishing(
        Admission(data_max_bytes=settings.data_max_bytes),
        RateLimit(
            events_per_second=settings.rate_events_per_second,
            burst_events=settings.rate_burst_events,
        ),
        queue,
        PublishTracer(provider.get_tracer("clarion.publisher") if provider else None),
        metrics,
        batch_max_events=settings.batch_max_events,
    )
    callers = Callers(verifier, metrics)
    routes = {
        EVENTS_PATH: Route(publishing.publish_event, UNKNOWN, callers, bodies, metrics),
        BATCH_PATH: Route(publishing.publish_batch, BATCH, callers, bodies, metrics),
    }
    operations = _operations(settings, bus, callers, bodies, metrics)
    drain = Drain()
    port = _port(settings, metrics)
    metrics.observe_pod(
        sockets=lambda: port.open,
        pending=lambda: queue.pending,
        body_bytes=lambda: bodies.held_bytes,
        draining=lambda: drain.begun,
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(queue.run()), group.create_task(keys.run())]
        yield Publisher(
            _public_app(settings, routes, operations),
            internal_app(metrics.registry, _readiness(drain, bus, keys), metrics.ready),
            port,
            drain,
        )
        for task in tasks:
            task.cancel()
    await bus.aclose()
    await keys.aclose()
    if provider is not None:
        await asyncio.to_thread(provider.shutdown)


def response_headers(settings: PublisherSettings) -> list[tuple[str, str]]:
    """What every response says about itself, set by uvicorn."""
    headers = dict(RESPONSE_HEADERS)
    if settings.profile == "dev":  # /docs: Swagger UI comes from a CDN
        sources = (
            "'self' 'unsafe-inline' data: https://cdn.jsdelivr.net https://fastapi.tiangolo.com"
        )
        headers["content-security-policy"] = f"default-src {sources}; frame-ancestors 'none'"
    return list(headers.items())


def _port(settings: PublisherSettings, metrics: Metrics) -> Port:
    limits = HttpLimits(
        head_max_bytes=settings.request_head_max_bytes,
        request_seconds=settings.request_seconds,
        idle_seconds=settings.keep_alive_seconds,
        body_bytes_per_second=settings.body_bytes_per_second,
    )
    return Port(limits, max_sockets=settings.max_sockets, refused=metrics.http_refused)


def _operations(
    settings: PublisherSettings, bus: Bus, callers: Callers, bodies: Bodies, metrics: Metrics
) -> list[routing.Route]:
    """What is served beside publishing."""
    users = Users(
        Orders(bus, settings.keyspace, max_orders=settings.orders_max),
        PresenceRegister(bus, settings.keyspace),
        token_max_seconds=settings.token_max_seconds,
        leeway_seconds=settings.jwt_leeway_seconds,
        disconnect_seconds=settings.history_max_age_seconds,
    )

    def route(method: str, path: str, name: str, scope: str, handle: Handle) -> routing.Route:
        operation = Operation(name, scope, handle, callers, bodies, metrics)
        return routing.Route(path, operation, methods=[method])

    return [
        route("GET", USER_PATH, "read_user", READ_USERS, users.read),
        route("GET", CONNECTIONS_PATH, "read_connections", READ_USERS, users.read_connections),
        route("POST", DISCONNECT_PATH, "disconnect_user", DISCONNECT_USERS, users.disconnect),
        route("POST", REVOKE_USER_PATH, "revoke_user", DISCONNECT_USERS, users.revoke_user),
        route("POST", REVOKE_TOKEN_PATH, "revoke_token", DISCONNECT_USERS, users.revoke_token),
    ]


def _public_app(
    settings: PublisherSettings,
    routes: Mapping[str, Route],
    operations: Sequence[routing.Route],
) -> ASGIApp:
    """The publishing routes, and FastAPI for everything else: documents, 404, 405."""
    dev = settings.profile == "dev"
    fastapi = FastAPI(
        title="Clarion publisher",
        docs_url="/docs" if dev else None,
        redoc_url=None,
        exception_handlers={HTTPException: _refuse_status, Exception: _refuse_bug},
    )
    document = openapi_document(
        version=metadata.version("clarion"), batch_max_events=settings.batch_max_events
    )
    fastapi.openapi = lambda: document  # type: ignore[method-assign]  # FastAPI's documented way
    for path, route in routes.items():
        # For the other methods: 405, with Allow.
        fastapi.router.routes.append(routing.Route(path, route, methods=["POST"]))
    fastapi.router.routes.extend(operations)
    app: ASGIApp = _Entrance(routes, fastapi)
    if settings.allowed_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "traceparent"],
            expose_headers=["Retry-After", "WWW-Authenticate"],
        )
    return app


class _Entrance:
    """Takes the publishing routes straight to their handlers.

    FastAPI's middleware and router cost 50 µs a request, a third of all that a publish costs.
    """

    def __init__(self, routes: Mapping[str, Route], otherwise: ASGIApp) -> None:
        self._routes = routes
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._otherwise(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"] in self._routes:
            await self._routes[scope["path"]](scope, receive, send)
        else:  # the path as it was sent: a slash in a user's id is none of the path's
            encoded = {**scope, "path": scope["raw_path"].decode("ascii")}
            await self._otherwise(encoded, receive, send)


def _readiness(drain: Drain, bus: Bus, keys: Keys) -> Readiness:
    async def readiness() -> Sequence[str]:
        reasons = []
        if drain.begun:
            reasons.append("draining")
        if not keys.known:
            reasons.append("no keys from CLARION_JWT_JWKS_URL yet")
        try:
            async with asyncio.timeout(_READINESS_SECONDS):
                await bus.ping()
        except BusUnavailable as error:
            reasons.append(f"redis: {error}")
        except TimeoutError:
            reasons.append(f"redis: no answer within {_READINESS_SECONDS:g} s")
        return reasons

    return readiness


async def _refuse_status(_request: Request, error: Any) -> Response:  # noqa: ANN401 - FastAPI's type
    headers = [(name.lower(), value) for name, value in (error.headers or {}).items()]
    return _response(of_status(error.status_code, f"{error.detail}.", headers))


async def _refuse_bug(_request: Request, _error: Exception) -> Response:
    return _response(Refusal(INTERNAL, "the publisher failed"))


def _response(refusal: Refusal) -> Response:
    return Response(
        refusal.body,
        refusal.row.status,
        headers=dict(refusal.headers),
        media_type=CONTENT_TYPE,
    )
