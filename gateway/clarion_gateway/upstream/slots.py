"""Bounds the calls that are under way: for the pod, and for each client.

A client that sends much to a slow backend must not hold all the pod's slots. Calls for one client
wait for each other first, and only then for a slot of the pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Client:
    """The slots of one client; exists only while one of its calls waits or is under way."""

    __slots__ = ("calls", "slots")

    def __init__(self, limit: int) -> None:
        self.slots = asyncio.Semaphore(limit)
        self.calls = 0


class Slots:
    """The slots of a pod.

    Attributes:
        used: calls that have a slot.

    Args:
        limit: calls under way at most.
        client_limit: those of one client among them.
    """

    def __init__(self, limit: int, client_limit: int) -> None:
        self.used = 0
        self._slots = asyncio.Semaphore(limit)
        self._client_limit = client_limit
        self._clients: dict[str, _Client] = {}

    @asynccontextmanager
    async def take(self, name: str) -> AsyncIterator[None]:
        """A slot for a client's call, until the context ends."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client(self._client_limit)
        client.calls += 1
        try:
            async with client.slots, self._slots:
                self.used += 1
                try:
                    yield
                finally:
                    self.used -= 1
        finally:
            client.calls -= 1
            if not client.calls:
                del self._clients[name]
