"""Empties the pod between SIGTERM and exit, so that clients do not all reconnect at once.

The pod takes these steps:

1. It reports that it is not ready, and waits until load balancers have noticed.
2. It takes no new clients, closes its connections spread over a window, and tells each client when
   to come back.
3. It exits when it is empty, or when the grace period has ended.

uvicorn alone would close every socket at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from clarion_gateway.clients.admission import Admission
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.hub import Hub
from clarion_gateway.settings import GatewaySettings

_SLICE_SECONDS: Final = 0.1

_log = structlog.get_logger(__name__)


class Relayed(Protocol):
    """The clients whose connections this pod only relays to the pods that have them."""

    def __len__(self) -> int:
        """The number of them."""
        ...

    def send_elsewhere(self, count: int) -> None:
        """Close so many of them."""
        ...


class Drain:
    """Empties the pod, once.

    Attributes:
        begun: whether the drain has begun; the pod is not ready from then on.

    Args:
        busy: returns the number of handlers that run and of closes that wait for clients.
    """

    def __init__(
        self,
        hub: Hub,
        admission: Admission,
        busy: Callable[[], int],
        settings: GatewaySettings,
        relayed: Relayed,
    ) -> None:
        self.begun = False
        self._hub = hub
        self._admission = admission
        self._busy = busy
        self._relayed = relayed
        self._pause_seconds = settings.drain_pause_seconds
        self._spread_seconds = settings.drain_spread_seconds
        self._grace_seconds = settings.drain_grace_seconds

    async def run(self) -> None:
        """Drain, and return when the pod may exit."""
        self.begun = True
        _log.info("draining", connections=len(self._hub), pause_seconds=self._pause_seconds)
        await asyncio.sleep(self._pause_seconds)
        self._admission.draining = True
        await self._close_all()
        try:
            async with asyncio.timeout(self._grace_seconds):
                while self._busy() or len(self._hub) or self._admission.opening:
                    await asyncio.sleep(_SLICE_SECONDS)
                    self._close(len(self._hub))  # connections whose handshake was under way
                    self._relayed.send_elsewhere(len(self._relayed))
        except TimeoutError:
            _log.warning("drain ended by its deadline", still_busy=self._busy())
        _log.info("drained")

    async def _close_all(self) -> None:
        slices = max(1, round(self._spread_seconds / _SLICE_SECONDS))
        for left in range(slices, 0, -1):
            if not (len(self._hub) or len(self._relayed)):
                return
            self._close(-(-len(self._hub) // left))
            self._relayed.send_elsewhere(-(-len(self._relayed) // left))
            if left > 1:
                await asyncio.sleep(_SLICE_SECONDS)

    def _close(self, count: int) -> None:
        for connection in list(self._hub.connections)[:count]:
            connection.send_elsewhere(close_codes.DRAINING)
