"""Concurrent publishes share Redis pipelines.

While one pipeline is on its way, publishes gather; the next pipeline takes them all. One request a
time costs one round trip, a thousand at once cost a few. No timer: nothing waits for company.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from clarion_contract.bus.bus import Answer
from clarion_contract.events.errors import BusUnavailable, BusUnreachable
from clarion_contract.events.event import Publication, Published

# A pipeline takes whole calls until it holds this much: enough to make the round trip cheap, little
# enough for Redis to answer in time and to serve others in between.
_PIPELINE_EVENTS: Final = 500
_PIPELINE_BYTES: Final = 4 * 1024 * 1024

# How long publishes wait for a Redis that was there a moment ago: longer than a restart takes, and
# shorter than a command that hangs.
_PATIENCE_SECONDS: Final = 3.0
_AGAIN_SECONDS: Final = 0.05


class QueueFull(BusUnavailable):
    """Too many publishes wait for Redis already. Nothing was sent: retry later."""


class PublishingBus(Protocol):
    """What the queue needs of `clarion_contract.bus.bus.Bus`."""

    async def publish(self, publications: Sequence[Publication]) -> list[Answer]:
        """See `clarion_contract.bus.bus.Bus.publish`."""
        ...


class _Call(NamedTuple):
    """One caller's publications, answered together: a future for each would cost 3 µs an event."""

    publications: Sequence[Publication]
    answers: asyncio.Future[list[Answer]]


class PublishQueue:
    """A bounded queue in front of a bus, emptied by `run` in order of arrival."""

    def __init__(
        self,
        bus: PublishingBus,
        *,
        max_pending: int,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._bus = bus
        self._max_pending = max_pending
        self._patience_seconds = patience_seconds
        # Until when it lasts, where Redis is away; None: it answered the last time.
        self._patient_until: float | None = 0.0
        self._calls: deque[_Call] = deque()
        self._pending = 0
        self._filled = asyncio.Event()
        self._closed = False

    @property
    def pending(self) -> int:
        """Publications that wait for their pipeline; those on their way do not count."""
        return self._pending

    async def publish(self, publication: Publication) -> Published:
        """Publish one event.

        Raises:
            BusUnavailable: Redis did not answer, or too many publishes wait for it already.
            IdempotencyKeyReused: the key names another event.
        """
        (answer,) = await self.publish_all((publication,))
        if isinstance(answer, Published):
            return answer
        raise answer

    async def publish_all(self, publications: Sequence[Publication]) -> list[Answer]:
        """Publish in order, in one pipeline; a failure stands in its own place.

        Raises:
            QueueFull: none of them was taken.
        """
        if self._closed:
            return [BusUnavailable("shutting down") for _ in publications]
        if self._pending + len(publications) > self._max_pending:
            raise QueueFull(f"{self._pending} publishes wait for Redis already")
        call = _Call(publications, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        self._pending += len(publications)
        self._filled.set()
        return await call.answers

    async def run(self) -> None:
        """Empty the queue for ever; whoever cancels it fails what still waits.

        May be called again after it has raised: what waits is still there.
        """
        try:
            while True:
                await self._filled.wait()
                await self._flush()
        except asyncio.CancelledError:
            self._closed = True
            _fail(self._calls, BusUnavailable("shutting down"))
            raise

    async def _flush(self) -> None:
        calls = self._take()
        publications = [publication for call in calls for publication in call.publications]
        try:
            answers = await self._publish(publications)
        except BusUnavailable as error:
            _fail(calls, error)
            return
        except BaseException as error:  # cancelled, or a bug: nobody may wait for ever
            cancelled = isinstance(error, asyncio.CancelledError)
            _fail(calls, BusUnavailable("shutting down" if cancelled else "publishing failed"))
            raise
        start = 0
        for call in calls:
            end = start + len(call.publications)
            if not call.answers.done():
                call.answers.set_result(answers[start:end])
            start = end

    async def _publish(self, publications: Sequence[Publication]) -> list[Answer]:
        """Publish; while Redis is only being restarted, wait for it.

        Only what was not sent at all is sent again: nothing can be published twice by that. Nor is
        there patience twice in one outage, or those who come later would wait for all before them.
        """
        while True:
            try:
                answers = await self._bus.publish(publications)
            except BusUnavailable as error:
                now = asyncio.get_running_loop().time()
                if self._patient_until is None:
                    self._patient_until = now + self._patience_seconds
                if not isinstance(error, BusUnreachable) or now >= self._patient_until:
                    raise
            else:
                self._patient_until = None
                return answers
            await asyncio.sleep(_AGAIN_SECONDS)

    def _take(self) -> list[_Call]:
        """The calls of the next pipeline: at least one, each whole."""
        taken: list[_Call] = []
        events = size = 0
        while self._calls and events < _PIPELINE_EVENTS and size < _PIPELINE_BYTES:
            call = self._calls.popleft()
            taken.append(call)
            events += len(call.publications)
            size += sum([len(publication.data) for publication in call.publications])
        self._pending -= events
        if not self._calls:
            self._filled.clear()
        return taken


def _fail(calls: Iterable[_Call], error: BusUnavailable) -> None:
    for call in calls:
        if not call.answers.done():
            # One exception each: a shared one would gather every caller's traceback.
            call.answers.set_result([BusUnavailable(str(error)) for _ in call.publications])
