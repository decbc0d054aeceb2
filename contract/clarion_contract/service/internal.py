"""The internal port of both services: ``/metrics``, ``/healthz``, ``/readyz``, ``/settings``.

An ingress must never expose it. Liveness shows only that the event loop runs, because restarting a
pod repairs neither Redis nor an issuer. Readiness asks the service; the answer's body names the
reasons why the service is not ready, and what is wrong although it may be (``warnings``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from clarion_contract.service.descriptors import set_aside_if_needed
from clarion_contract.service.readiness import Health

Readiness = Callable[[], Health]
"""Returns the health of the service now."""


def service_registry() -> CollectorRegistry:
    """A registry with the standard metrics of a Python process.

    Counters and histograms come without a `_created` series each: a third more series, which
    Prometheus does not use.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def internal_app(
    registry: CollectorRegistry,
    readiness: Readiness,
    ready: Gauge,
    *,
    warnings: Callable[[], Sequence[str]] = tuple,
    about: Mapping[str, object] | None = None,
) -> Starlette:
    """The ASGI app of the internal port.

    Args:
        ready: set at each scrape to the answer of ``/readyz``, as 1 or 0.
        warnings: what is wrong with the service although it should get traffic; ``/readyz`` tells
            it, too.
        about: the service and its settings without secrets, the answer of ``/settings``.
    """

    async def metrics(request: Request) -> Response:
        ready.set(readiness().ready)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        with set_aside_if_needed():  # the numbers of the process are files
            text = encode(registry)
        return Response(text, headers={"content-type": content_type})

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        health = readiness()
        answer: dict[str, object] = {"ready": health.ready, "reasons": health.reasons}
        if warned := (*health.warnings, *warnings()):
            answer["warnings"] = warned
        return JSONResponse(answer, status_code=200 if health.ready else 503)

    async def settings(_request: Request) -> Response:
        return JSONResponse(about or {})

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/settings", settings),
        ]
    )
