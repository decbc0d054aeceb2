"""Concurrent publishes share Redis pipelines.

While one pipeline is on its way, publishes gather; the next pipeline takes them all. One request a
time costs one round trip, a thousand at once cost a few. No timer: nothing waits for company.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from contract.bus import Published
from contract.errors import BusUnavailable, IdempotencyKeyReused
from contract.event import Publication

_PIPELINE_MAX: Final = 500


class PublishingBus(Protocol):
    """What the queue needs of `contract.bus.Bus`."""

    async def publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | IdempotencyKeyReused]:
        """See `contract.bus.Bus.publish`."""
        ...


Answer = asyncio.Future[Published | IdempotencyKeyReused]


class PublishQueue:
    """A bounded queue in front of a bus, emptied by `run` in order of arrival."""

    def __init__(self, bus: PublishingBus, *, max_pending: int) -> None:
        self._bus = bus
        self._max_pending = max_pending
        self._pending: deque[tuple[Publication, Answer]] = deque()
        self._filled = asyncio.Event()

    async def publish(self, publication: Publication) -> Published:
        """Publish one event.

        Raises:
            BusUnavailable: Redis did not answer, or too many publishes wait for it already.
            IdempotencyKeyReused: the key names another event.
        """
        answer = await self._put([publication])[0]
        if isinstance(answer, IdempotencyKeyReused):
            raise answer
        return answer

    async def publish_all(
        self, publications: Sequence[Publication]
    ) -> list[Published | IdempotencyKeyReused | BusUnavailable]:
        """Publish in order; a failure stands in its own place and spoils no other."""
        results = await asyncio.gather(*self._put(publications), return_exceptions=True)
        answers: list[Published | IdempotencyKeyReused | BusUnavailable] = []
        for result in results:
            if not isinstance(result, Published | IdempotencyKeyReused | BusUnavailable):
                raise result
            answers.append(result)
        return answers

    async def run(self) -> None:
        """Empty the queue for ever; whoever cancels it fails what still waits."""
        try:
            while True:
                await self._filled.wait()
                await self._flush()
        finally:
            for _, answer in self._pending:
                if not answer.done():
                    answer.set_exception(BusUnavailable("shutting down"))

    def _put(self, publications: Sequence[Publication]) -> list[Answer]:
        if len(self._pending) + len(publications) > self._max_pending:
            raise BusUnavailable(f"{len(self._pending)} publishes wait for Redis already")
        loop = asyncio.get_running_loop()
        entries = [(publication, loop.create_future()) for publication in publications]
        self._pending.extend(entries)
        self._filled.set()
        return [answer for _, answer in entries]

    async def _flush(self) -> None:
        taken = [self._pending.popleft() for _ in range(min(len(self._pending), _PIPELINE_MAX))]
        if not self._pending:
            self._filled.clear()
        try:
            replies = await self._bus.publish([publication for publication, _ in taken])
        except BusUnavailable as error:
            for _, answer in taken:
                if not answer.done():
                    answer.set_exception(BusUnavailable(str(error)))
            return
        for (_, answer), reply in zip(taken, replies, strict=True):
            if not answer.done():
                answer.set_result(reply)
