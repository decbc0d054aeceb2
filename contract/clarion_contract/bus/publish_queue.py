"""Concurrent publishes share Redis pipelines.

While one pipeline is on its way, new publishes gather, and the next pipeline takes all of them.
Single requests cost one round trip each; a thousand concurrent requests cost a few together. There
is no timer: a publish never waits for others to join it.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from clarion_contract.bus.bus import Answer
from clarion_contract.events.errors import BusUnavailable, BusUnreachable
from clarion_contract.events.event import Publication, Published
from clarion_contract.redis.backoff import reconnect_delay_seconds

# A pipeline takes whole calls until it holds this many: enough to make the round trip cheap, few
# enough that Redis answers in time and serves others in between.
_PIPELINE_EVENTS: Final = 500
_PIPELINE_BYTES: Final = 4 * 1024 * 1024

# How long publishes wait for a Redis that answered a moment ago: longer than a restart takes,
# shorter than the timeout of a command.
_PATIENCE_SECONDS: Final = 3.0
# The longest pause between two attempts: a publish must not wait much longer than Redis is away.
_AGAIN_SECONDS: Final = 0.25


class QueueFull(BusUnavailable):
    """Too many publishes already wait for Redis. Nothing was sent: retry later."""


class PublishingBus(Protocol):
    """The part of `clarion_contract.bus.bus.Bus` that the queue uses."""

    async def publish(self, publications: Sequence[Publication]) -> list[Answer]:
        """See `clarion_contract.bus.bus.Bus.publish`."""
        ...


Answered = Callable[[list[Answer]], None]
"""Takes the answers of one call, in the order of its publications. It must not raise."""


class _Call(NamedTuple):
    """One caller's publications, answered together: a future per event would cost 3 µs each."""

    publications: Sequence[Publication]
    answered: Answered


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
        # When the patience ends while Redis is away. None: Redis answered the last time.
        self._patient_until: float | None = 0.0
        self._calls: deque[_Call] = deque()
        self._pending = 0
        self._filled = asyncio.Event()
        self._closed = False

    @property
    def pending(self) -> int:
        """Publications that wait for a pipeline; those in the current pipeline do not count."""
        return self._pending

    async def publish(self, publication: Publication) -> Published:
        """Publish one event.

        Raises:
            BusUnavailable: Redis did not answer, or too many publishes already wait for it.
            IdempotencyKeyReused: the key already names another event.
        """
        (answer,) = await self.publish_all((publication,))
        if isinstance(answer, Published):
            return answer
        raise answer

    async def publish_all(self, publications: Sequence[Publication]) -> list[Answer]:
        """Publish in order, in one pipeline; a failure stands in its publication's place.

        Raises:
            QueueFull: the queue took none of the publications.
        """
        if self._closed:
            return [BusUnavailable("shutting down") for _ in publications]
        answers: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self.submit(publications, functools.partial(_resolve, answers))
        return await answers

    def takes(self, count: int) -> bool:
        """Whether there is room for so many publications."""
        return not self._closed and self._pending + count <= self._max_pending

    def submit(self, publications: Sequence[Publication], answered: Answered) -> None:
        """Publish as `publish_all` does, for callers that wait in no coroutine.

        Args:
            answered: called once, and never before `submit` has returned.

        Raises:
            QueueFull: the queue took none of the publications.
        """
        if not self.takes(len(publications)):
            raise QueueFull(f"{self._pending} publishes wait for Redis already")
        self._calls.append(_Call(publications, answered))
        self._pending += len(publications)
        self._filled.set()

    async def run(self) -> None:
        """Empty the queue for ever. When cancelled, fail all publishes that still wait.

        If `run` has raised, call it again: the publishes that wait are still in the queue.
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
        except BaseException as error:  # cancelled, or a bug: no caller may wait for ever
            cancelled = isinstance(error, asyncio.CancelledError)
            _fail(calls, BusUnavailable("shutting down" if cancelled else "publishing failed"))
            raise
        start = 0
        for call in calls:
            end = start + len(call.publications)
            call.answered(answers[start:end])
            start = end

    async def _publish(self, publications: Sequence[Publication]) -> list[Answer]:
        """Publish; if Redis is unreachable for a moment, wait for it and try again.

        Only publications that were not sent at all are sent again, so none is published twice.
        The queue is patient once per outage. Otherwise each later call would wait for all calls
        before it.
        """
        failures = 0
        while True:
            try:
                answers = await self._bus.publish(publications)
            except BusUnavailable as error:
                now = asyncio.get_running_loop().time()
                if self._patient_until is None:
                    self._patient_until = now + self._patience_seconds
                passes = isinstance(error, BusUnreachable) and error.fault is None
                if not passes or now >= self._patient_until:
                    raise
            else:
                self._patient_until = None
                return answers
            await asyncio.sleep(min(reconnect_delay_seconds(failures), _AGAIN_SECONDS))
            failures += 1

    def _take(self) -> list[_Call]:
        """The calls of the next pipeline: at least one, and only complete calls."""
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
        call.answered([BusUnavailable(str(error), error.fault) for _ in call.publications])


def _resolve(future: asyncio.Future[list[Answer]], answers: list[Answer]) -> None:
    if not future.done():
        future.set_result(answers)
