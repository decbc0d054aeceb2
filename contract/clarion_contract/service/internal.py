"""The internal port, alike in both services: ``/metrics``, ``/healthz`` and ``/readyz``.

Never exposed by an ingress. Liveness says only that the event loop turns: restarting a pod repairs
neither Redis nor an issuer. Readiness asks the service, whose reasons stand in the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

Readiness = Callable[[], Awaitable[Sequence[str]]]
"""Why no traffic should come in; nothing: it should."""


def service_registry() -> CollectorRegistry:
    """A registry with what every Python process says about itself."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def internal_app(registry: CollectorRegistry, readiness: Readiness, ready: Gauge) -> Starlette:
    """The ASGI app of the internal port.

    Args:
        ready: is set at each scrape to what ``/readyz`` would answer, 1 or 0.
    """

    async def metrics(request: Request) -> Response:
        ready.set(not await readiness())
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        reasons = list(await readiness())
        return JSONResponse(
            {"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200
        )

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ]
    )
