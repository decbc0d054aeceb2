"""The HTTP source: serves the public port until it is cancelled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from clarion_contract.identity.keys import Keys
from clarion_contract.service.declared_events import DeclaredEvents
from clarion_contract.service.http_port import Port
from clarion_contract.service.http_protocol import protocol_class
from clarion_contract.service.http_shortcut import AnswerHeads
from clarion_contract.service.serving import Server
from clarion_publisher.ingestion.ingestion import Ingestion
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.http.dependencies import Services
from clarion_publisher.sources.http.protocol import PublisherHttpProtocol
from clarion_publisher.sources.http.public import public_app, response_headers
from clarion_publisher.sources.http.routes import EVENTS_PATH
from clarion_publisher.sources.http.shortcut import EventShortcut


class HttpSource:
    """Takes events from services over HTTP. See `clarion_publisher.sources.source.Source`."""

    def __init__(
        self,
        settings: PublisherSettings,
        listener: socket.socket,
        port: Port,
        services: Services,
        keys: Keys,
        draining: Callable[[], bool],
        declared: DeclaredEvents | None = None,
    ) -> None:
        """Set up.

        Args:
            listener: the public port, already bound.
            port: the connections of that port, and their limits.
            keys: the keys for callers' tokens.
            draining: whether load balancers should send no more requests.
            declared: the declared events; None: there is no catalogue.
        """
        self._settings = settings
        self._listener = listener
        self._port = port
        self._services = services
        self._keys = keys
        self._draining = draining
        self._declared = declared

    async def run(self, ingestion: Ingestion) -> None:
        """Serve until cancelled; then take no new connection and finish the current requests."""
        server = self._server(ingestion)
        serving = asyncio.ensure_future(server.run_until_stopped())
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.stop()
            await serving
            raise

    def obstacles(self) -> Sequence[str]:
        """Missing keys are a reason: without them no caller can be identified."""
        if self._keys.known:
            return ()
        return (f"no keys from CLARION_JWT_JWKS_URL: {self._keys.failure}",)

    def warnings(self) -> Sequence[str]:
        """None: what is wrong with the keys is a reason to send requests elsewhere."""
        return ()

    def _server(self, ingestion: Ingestion) -> Server:
        settings, services = self._settings, self._services
        shortcut = EventShortcut(
            settings.path_prefix + EVENTS_PATH,
            ingestion,
            services.callers,
            services.bodies,
            services.metrics,
        )
        return Server(
            public_app(settings, ingestion, services, self._draining, self._declared),
            self._listener,
            http=protocol_class(
                PublisherHttpProtocol, self._port, shortcut=shortcut, heads=AnswerHeads()
            ),
            ws="none",
            proxy_headers=False,
            headers=response_headers(settings),
            timeout_graceful_shutdown=settings.drain_grace_seconds,
        )
