"""Events that flow while Redis suffers, and a check of what clients received in the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Publication, Published
from tests.integration.pod import Pod, eventually
from tests.integration.sockets import Client

LATE_SECONDS = 60.0
"""For what waits for a restarted Redis: the gateway asks for it every two seconds at most."""


class Producer:
    """Publishes numbered events one after the other, each until Redis has confirmed it.

    It uses idempotency keys, because it retries: Redis may have accepted an event whose answer was
    lost.
    """

    def __init__(
        self, pod: Pod, audiences: tuple[Audience, ...] = (ALL,), *, first: int = 0
    ) -> None:
        self._pod = pod
        self._audiences = audiences
        self._first = first
        self.sent: list[Audience] = []

    async def publish(self, count: int, *, pause_seconds: float = 0.001) -> None:
        for _ in range(count):
            number = self._first + len(self.sent)
            audience = self._audiences[number % len(self._audiences)]
            publication = Publication(audience, "tick", b"%d" % number, key=f"key-{number}")
            await eventually(partial(self._confirmed, publication), seconds=LATE_SECONDS)
            self.sent.append(audience)
            await asyncio.sleep(pause_seconds)

    async def reach(self, count: int) -> None:
        """Return when this many events are published."""

        async def out() -> bool:
            return len(self.sent) >= count

        await eventually(out, seconds=LATE_SECONDS, what=f"{count} events published")

    def numbers(self, *audiences: Audience) -> list[int]:
        return [
            number
            for number, audience in enumerate(self.sent, self._first)
            if audience in audiences
        ]

    async def _confirmed(self, publication: Publication) -> bool:
        try:
            (answer,) = await self._pod.bus.publish([publication])
        except BusUnavailable:
            return False
        return isinstance(answer, Published)


@contextlib.asynccontextmanager
async def producing(
    pod: Pod, count: int, *audiences: Audience, pause_seconds: float = 0.001, first: int = 0
) -> AsyncIterator[Producer]:
    """Publish events while the test does something else; finish when the context ends."""
    producer = Producer(pod, audiences or (ALL,), first=first)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(producer.publish(count, pause_seconds=pause_seconds))
        yield producer


async def numbers_until(client: Client, last: int) -> list[int]:
    """The numbers of all events up to that one. Any other message fails."""
    numbers: list[int] = []
    async with asyncio.timeout(LATE_SECONDS):
        while last not in numbers:
            numbers.append((await client.receive("event"))["data"])
    return numbers


async def heard_until(client: Client, last: Any, count: int = 1) -> list[Any]:
    """Data of events, and kinds of other messages, until the last event has come so many times."""
    heard: list[Any] = []
    while heard.count(last) < count:
        message = await client.receive()
        heard.append(message["data"] if message["kind"] == "event" else message["kind"])
    return heard
