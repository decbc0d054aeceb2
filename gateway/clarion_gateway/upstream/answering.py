"""Puts together what answers clients' messages: the handlers, the upstream, and the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clarion_contract.service.declaring import declared_events
from clarion_contract.service.webhooks import Signer
from clarion_gateway.application.checked_queue import CheckedQueue, Publisher
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.hooks import ConnectHook, DisconnectHook, SubscribeHook
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.upstream.backend import Backend
from clarion_gateway.upstream.exchange import Exchange
from clarion_gateway.upstream.hooks import UpstreamHooks
from clarion_gateway.upstream.messages import UpstreamMessages
from clarion_gateway.upstream.presence import UpstreamPresence


class Answering:
    """The application's side: it answers clients' messages.

    Attributes:
        handlers: the application's, and behind them the upstream.
        publisher: of what they publish.
        declared: the catalogue; None: there is none.
        presence: tells the upstream who is online; None: it does not want to know.

    Raises:
        InvalidSettings: the catalogue has a mistake.
    """

    def __init__(
        self, handlers: Handlers, queue: Publisher, metrics: Metrics, settings: GatewaySettings
    ) -> None:
        self.handlers = handlers
        self.declared = declared_events(settings, metrics.catalogue)
        self.publisher = (
            queue if self.declared is None else CheckedQueue(queue, self.declared.check)
        )
        self._backend = _backend(settings, metrics)
        self._hooks: UpstreamHooks | None = None
        self.presence: UpstreamPresence | None = None
        if self._backend is not None:
            source = f"/clarion/gateway/{settings.pod}"
            exchange = Exchange(self._backend, self.publisher, source=source)
            handlers.fall_back(UpstreamMessages(exchange, settings.upstream_types).find)
            self._hooks = UpstreamHooks(exchange, settings.upstream_hooks, settings.upstream_topics)
            if "presence" in settings.upstream_hooks:
                self.presence = UpstreamPresence(exchange)

    @property
    def connects(self) -> Sequence[ConnectHook]:
        """The functions for a client that connects: the application's own, then the upstream."""
        return (*self.handlers.connects, *(self._hooks.connects if self._hooks else ()))

    @property
    def disconnects(self) -> Sequence[DisconnectHook]:
        """The functions that run when a connection has ended, in the order of `connects`."""
        return (*self.handlers.disconnects, *(self._hooks.disconnects if self._hooks else ()))

    @property
    def subscribes(self) -> Sequence[SubscribeHook]:
        """The functions that decide about topics: the application's own, then the upstream."""
        return (*self.handlers.subscribes, *(self._hooks.subscribes if self._hooks else ()))

    @property
    def namespaces(self) -> Mapping[str, Handlers]:
        """The application's namespaces; the upstream has none."""
        return self.handlers.namespaces

    @property
    def warnings(self) -> Sequence[str]:
        """For readiness: what is wrong with the catalogue."""
        return () if self.declared is None else self.declared.warnings

    async def aclose(self) -> None:
        """Close the connections to the upstream."""
        if self._backend is not None:
            self.handlers.fall_back(None)
            await self._backend.aclose()


def _backend(settings: GatewaySettings, metrics: Metrics) -> Backend | None:
    if settings.upstream_url is None or settings.upstream_secret is None:
        return None
    signer = Signer(settings.upstream_secret.get_secret_value().split())
    backend = Backend(settings.upstream_url, signer, metrics.upstream, settings)
    metrics.upstream.observe(lambda: backend.slots.used, lambda: backend.circuit.open)
    return backend
