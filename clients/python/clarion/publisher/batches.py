"""Collects submitted events into batches, within bounds of time, number and size. No I/O."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from clarion.publisher.events import Receipt
from clarion.publisher.problems import PublishError


class Promise(Protocol):
    """A future, of `concurrent.futures` or of asyncio."""

    def cancelled(self) -> bool: ...  # noqa: D102
    def done(self) -> bool: ...  # noqa: D102
    def exception(self) -> BaseException | None: ...  # noqa: D102
    def set_result(self, result: Receipt, /) -> None: ...  # noqa: D102
    def set_exception(self, exception: BaseException, /) -> None: ...  # noqa: D102


_log = logging.getLogger("clarion.publisher")
AnyPromise = TypeVar("AnyPromise", bound=Promise)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a batch, and of the events that wait.

    Attributes:
        seconds: the longest that an event waits for others.
        events: the most events in one request. The publisher takes `PUBLISHER_BATCH_MAX_EVENTS`.
        bytes: a request is sent once its events have this size. An event may be larger.
        waiting_bytes: events that are not confirmed; above this, `submit` waits.
    """

    seconds: float = 0.01
    events: int = 500
    bytes: int = 512 << 10
    waiting_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True)
class Submitted(Generic[AnyPromise]):
    """An event that waits for its batch.

    Attributes:
        trace: the headers of the trace in which it was submitted.
    """

    encoded: bytes
    key: str
    trace: Mapping[str, str]
    promise: AnyPromise


class Waiting(Generic[AnyPromise]):
    """Submitted events, in their order."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._clock = clock
        self._events: deque[Submitted[AnyPromise]] = deque()
        self._queued_bytes = 0
        self._sending_bytes = 0
        self._due_at = 0.0

    @property
    def is_full(self) -> bool:
        """Whether further events must wait outside."""
        return self._queued_bytes + self._sending_bytes >= self._bounds.waiting_bytes

    @property
    def is_idle(self) -> bool:
        """Whether every event has its result."""
        return not self._events and self._sending_bytes == 0

    def add(self, event: Submitted[AnyPromise]) -> None:
        """Add an event."""
        if not self._events:
            self._due_at = self._clock() + self._bounds.seconds
        self._events.append(event)
        self._queued_bytes += len(event.encoded)

    def wait_seconds(self) -> float | None:
        """The seconds that the next batch waits for more events; None: there is none."""
        if not self._events:
            return None
        bounds = self._bounds
        if len(self._events) >= bounds.events or self._queued_bytes >= bounds.bytes:
            return 0.0
        return max(0.0, self._due_at - self._clock())

    def take(self) -> list[Submitted[AnyPromise]]:
        """The next batch. Call `done` once its events have their results."""
        batch: list[Submitted[AnyPromise]] = []
        size = 0
        while self._events and len(batch) < self._bounds.events:
            size += len(self._events[0].encoded)
            if batch and size > self._bounds.bytes:
                break
            batch.append(self._events.popleft())
        taken = sum(len(event.encoded) for event in batch)
        self._queued_bytes -= taken
        self._sending_bytes += taken
        self._due_at = self._clock()  # whatever is left has waited for this one
        return batch

    def done(self) -> None:
        """The batch that was taken has its results."""
        self._sending_bytes = 0


def trace_of(batch: Sequence[Submitted[AnyPromise]]) -> Mapping[str, str]:
    """The trace of a batch, if all its events were submitted in one."""
    first = batch[0].trace
    return first if all(event.trace == first for event in batch) else {}


def settle(
    batch: Sequence[Submitted[AnyPromise]], outcomes: Sequence[Receipt | PublishError]
) -> None:
    """Give each event its result."""
    for event, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, PublishError):
            outcome.key = event.key
        if event.promise.done():  # cancelled meanwhile
            continue
        if isinstance(outcome, PublishError):
            event.promise.set_exception(outcome)
        else:
            event.promise.set_result(outcome)


def fail(batch: Sequence[Submitted[AnyPromise]], error: Exception) -> None:
    """Give all events of a batch the same exception."""
    for event in batch:
        if not event.promise.done():
            event.promise.set_exception(error)


def log_failures(batch: Sequence[Submitted[AnyPromise]]) -> None:
    """Log that events are not published: perhaps nobody looks at their futures."""
    done = [event.promise for event in batch if not event.promise.cancelled()]
    errors = [error for promise in done if (error := promise.exception()) is not None]
    if errors:
        _log.error("%d of %d events are not published: %s", len(errors), len(batch), errors[0])
