"""The ASGI app of the public port: the publishing routes, and FastAPI for everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from clarion_contract.events.catalogue import Catalogue
from clarion_contract.service.declared_events import DeclaredEvents
from clarion_contract.service.origins import AllowedOrigins
from clarion_contract.service.paths import Prefixed, health_routes
from clarion_contract.service.serving import RESPONSE_HEADERS
from clarion_publisher.audience_rules import AudienceRules
from clarion_publisher.ingestion.ingestion import BATCH, UNKNOWN, Ingestion
from clarion_publisher.ingestion.refusal import Refusal
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.http.dependencies import Services
from clarion_publisher.sources.http.docs_page import CONTENT_SECURITY_POLICY, add_docs_page
from clarion_publisher.sources.http.exchange import Disconnected
from clarion_publisher.sources.http.openapi import openapi_document
from clarion_publisher.sources.http.operations import router
from clarion_publisher.sources.http.problems import (
    CONTENT_TYPE,
    INTERNAL,
    HttpRefusal,
    document_of,
    headers_of,
    of_status,
    row_of,
)
from clarion_publisher.sources.http.routes import BATCH_PATH, EVENTS_PATH, Publishing, Route


def public_app(
    settings: PublisherSettings,
    ingestion: Ingestion,
    services: Services,
    draining: Callable[[], bool],
    declared: DeclaredEvents | None = None,
) -> ASGIApp:
    """The app of one publisher.

    Args:
        draining: whether the pod tells load balancers to send no more requests.
        declared: the declared events; None: there is no catalogue.
    """
    routes = _publishing_routes(settings, ingestion, services)
    fastapi = _fastapi(settings, services, routes, declared)
    fastapi.router.routes += health_routes(settings.health_path, draining)
    app: ASGIApp = _Entrance(routes, fastapi)
    if settings.path_prefix:
        app = Prefixed(app, settings.path_prefix)
    if settings.allowed_origins:
        app = CORSMiddleware(
            app,
            allow_origins=AllowedOrigins(settings.allowed_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "traceparent"],
            expose_headers=["Retry-After", "WWW-Authenticate"],
        )
    return app


def response_headers(settings: PublisherSettings) -> list[tuple[str, str]]:
    """The headers that uvicorn adds to every response."""
    headers = dict(RESPONSE_HEADERS)
    if settings.profile == "dev":
        headers["content-security-policy"] = CONTENT_SECURITY_POLICY
    return list(headers.items())


def _publishing_routes(
    settings: PublisherSettings, ingestion: Ingestion, services: Services
) -> dict[str, Route]:
    publishing = Publishing(
        ingestion,
        batch_max_events=settings.batch_max_events,
        rules=AudienceRules.parse(settings.cloudevents_audiences),
    )
    shared = services.callers, services.bodies, services.metrics
    return {
        EVENTS_PATH: Route(
            publishing.publish_event,
            UNKNOWN,
            *shared,
            cloudevents=publishing.publish_cloudevents,
        ),
        BATCH_PATH: Route(publishing.publish_batch, BATCH, *shared),
    }


def _fastapi(
    settings: PublisherSettings,
    services: Services,
    routes: Mapping[str, Route],
    declared: DeclaredEvents | None,
) -> FastAPI:
    app = FastAPI(
        title="Clarion publisher",
        docs_url=None,
        redoc_url=None,
        exception_handlers={
            HTTPException: _refuse_status,
            Refusal: _refuse,
            Disconnected: _answer_nobody,
            Exception: _refuse_bug,
        },
    )
    # A redirect would lead to whatever host the caller names, and callers lose their body on it.
    app.router.redirect_slashes = False
    app.state.services = services
    app.include_router(router)
    app.openapi = _Openapi(app, settings, declared)  # type: ignore[method-assign]  # FastAPI's way
    for path, route in routes.items():
        # With other methods, the router answers 405 with Allow.
        app.router.routes.append(StarletteRoute(path, route, methods=["POST"]))
    if settings.profile == "dev":
        add_docs_page(app, settings.path_prefix)
    return app


class _Openapi:
    """The OpenAPI document, made anew for a new catalogue."""

    def __init__(
        self, app: FastAPI, settings: PublisherSettings, declared: DeclaredEvents | None
    ) -> None:
        self._app = app
        self._settings = settings
        self._declared = declared
        self._catalogue = self._current()
        self._document = self._make()

    def __call__(self) -> dict[str, Any]:
        if self._current() is not self._catalogue:
            self._catalogue = self._current()
            self._document = self._make()
        return self._document

    def _current(self) -> Catalogue | None:
        return None if self._declared is None else self._declared.catalogue

    def _make(self) -> dict[str, Any]:
        return openapi_document(
            self._app,
            version=metadata.version("clarion"),
            batch_max_events=self._settings.batch_max_events,
            path_prefix=self._settings.path_prefix,
            catalogue=self._catalogue,
        )


class _Entrance:
    """Sends publishing requests straight to their handlers.

    FastAPI's middleware and router would more than double the cost of our own part of a publish:
    docs/decisions/0003-publish-pipeline.md has the figures.
    """

    def __init__(self, routes: Mapping[str, Route], otherwise: ASGIApp) -> None:
        self._routes = routes
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._otherwise(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"] in self._routes:
            await self._routes[scope["path"]](scope, receive, send)
        else:  # with the undecoded path: a slash in a user's id must not split it
            encoded = {**scope, "path": scope["raw_path"].decode("ascii")}
            await self._otherwise(encoded, receive, send)


async def _refuse_status(_request: Request, error: Any) -> Response:  # noqa: ANN401 - FastAPI's type
    headers = [(name.lower(), value) for name, value in (error.headers or {}).items()]
    if ("allow", "GET") in headers:  # HEAD has its own route, which Starlette does not name here
        headers = [("allow", "GET, HEAD")]
    return _response(of_status(error.status_code, f"{error.detail}.", headers))


async def _refuse(_request: Request, refusal: Any) -> Response:  # noqa: ANN401 - FastAPI's type
    return _response(refusal)


async def _refuse_bug(_request: Request, _error: Exception) -> Response:
    return _response(HttpRefusal(INTERNAL, "the publisher failed"))


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    """The client is gone, and uvicorn drops the response."""
    return Response(status_code=400)


def _response(refusal: Refusal) -> Response:
    return Response(
        document_of(refusal),
        row_of(refusal).status,
        headers=dict(headers_of(refusal)),
        media_type=CONTENT_TYPE,
    )
