"""Takes events from any source to the bus: rate limit, admission, trace, publish, count.

All events come in through this module. A source hands in events, and gets the outcome of each event
in the same place. Nothing here knows HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from clarion_contract.bus.bus import Answer
from clarion_contract.bus.publish_queue import PublishQueue, QueueFull
from clarion_contract.events.errors import BusUnavailable, IdempotencyKeyReused
from clarion_contract.events.event import Publication, Published
from clarion_contract.identity.claims import Claims
from clarion_contract.service.telemetry import read_traceparent
from clarion_publisher.ingestion.admission import Admission
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.rate_limit import RateLimit
from clarion_publisher.ingestion.refusal import (
    KEY_REUSED,
    OVERLOADED,
    RETRY_SECONDS,
    Refusal,
    bus_failure,
)
from clarion_publisher.ingestion.tracing import PublishSpan, PublishTracer, passed_on
from clarion_publisher.metrics import Metrics

BATCH: Final = "batch"
UNKNOWN: Final = "unknown"
PUBLISHED: Final = "published"
DUPLICATE: Final = "duplicate"

Outcome = Published | Refusal
"""The result for one event. If a refusal's kind is retryable, hand the event in again later."""


class Ingestion:
    """The path from a source to the bus."""

    def __init__(
        self,
        admission: Admission,
        rate_limit: RateLimit,
        queue: PublishQueue,
        tracer: PublishTracer,
        metrics: Metrics,
    ) -> None:
        self._admission = admission
        self._rate_limit = rate_limit
        self._queue = queue
        self._tracer = tracer
        self._metrics = metrics

    async def publish(
        self,
        caller: Claims,
        events: Sequence[IncomingEvent | Refusal],
        *,
        traceparent: bytes | None = None,
    ) -> list[Outcome]:
        """Publish events in order; the outcomes stand in the same order.

        Events are independent: a bad one does not keep the others from being published. If the
        caller is too fast, or too many events wait for Redis, then every event gets the same
        retryable refusal and none was published. An event sent again with its key is published
        once.

        Args:
            caller: the publishing service. Its scopes decide on audiences, its subject on rate
                limit and keys.
            events: a refusal stands in place of an event that the source could not read.
            traceparent: the producer's W3C trace context, as received.

        Example::

            outcomes = await ingestion.publish(caller, events)
            again = [
                event
                for event, outcome in zip(events, outcomes, strict=True)
                if isinstance(outcome, Refusal) and outcome.kind.retryable
            ]
        """
        if not events:
            return []
        label = BATCH if len(events) > 1 else _kind(events[0])
        try:
            self._rate_limit.take(caller.subject, len(events))
            with self._tracer.begin(traceparent, label, events=len(events)) as span:
                publications, refused = self._admit(caller, events, span.traceparent)
                try:
                    answers = await self._queue.publish_all(publications) if publications else []
                except QueueFull as full:
                    raise Refusal(
                        OVERLOADED, str(full), retry_after_seconds=RETRY_SECONDS
                    ) from None
                outcomes = _in_place(answers, refused)
                if span.recording:
                    _note(span, publications, outcomes)
        except Refusal as refusal:
            outcomes = [refusal] * len(events)
        self._count(events, outcomes)
        return outcomes

    def submit(
        self,
        caller: Claims,
        event: IncomingEvent,
        answered: Callable[[Outcome], None],
        *,
        traceparent: bytes | None = None,
    ) -> bool:
        """Publish one event as `publish` does, for a source that waits in no coroutine.

        Args:
            answered: called once, and never before `submit` has returned; it must not raise.

        Returns:
            Whether the event was taken. If not, `publish` does it, or has the refusal.

        Raises:
            Refusal: the event was not taken, and nothing was counted.
        """
        if self._tracer.records or not self._queue.takes(1):
            return False
        trace = passed_on(read_traceparent(traceparent))
        publication = self._admission.admit(caller, event, trace=trace)
        self._rate_limit.take(caller.subject, 1)
        self._queue.submit((publication,), _Submitted(event, answered, self._metrics).answered)
        return True

    def _admit(
        self, caller: Claims, events: Sequence[IncomingEvent | Refusal], trace: str | None
    ) -> tuple[list[Publication], dict[int, Refusal]]:
        """The publications, and the refusals by the position of their events."""
        publications = []
        refused = {}
        for place, event in enumerate(events):
            if isinstance(event, Refusal):
                refused[place] = event
                continue
            try:
                publications.append(self._admission.admit(caller, event, trace=trace))
            except Refusal as refusal:
                refused[place] = refusal
        return publications, refused

    def _count(
        self, events: Sequence[IncomingEvent | Refusal], outcomes: Sequence[Outcome]
    ) -> None:
        counts: dict[tuple[str, str], int] = {}
        for event, outcome in zip(events, outcomes, strict=True):
            labels = label_of(outcome), _kind(event)
            counts[labels] = counts.get(labels, 0) + 1
        self._metrics.events(counts)


class _Submitted:
    """One event that was submitted, until the bus has answered."""

    __slots__ = ("_done", "_event", "_metrics")

    def __init__(
        self, event: IncomingEvent, done: Callable[[Outcome], None], metrics: Metrics
    ) -> None:
        self._event = event
        self._done = done
        self._metrics = metrics

    def answered(self, answers: list[Answer]) -> None:
        """Count the outcome and hand it on."""
        (outcome,) = _in_place(answers, {})
        self._metrics.event(label_of(outcome), self._event.audience.kind)
        self._done(outcome)


def label_of(outcome: Outcome) -> str:
    """Metric label: ``published``, ``duplicate`` or the name of the refusal's kind."""
    if isinstance(outcome, Refusal):
        return outcome.kind.name
    return DUPLICATE if outcome.duplicate else PUBLISHED


def _in_place(answers: Sequence[Answer], refused: Mapping[int, Refusal]) -> list[Outcome]:
    """The bus's answers with the refusals inserted at their positions."""
    outcomes: list[Outcome] = [
        answer if isinstance(answer, Published) else _failure(answer) for answer in answers
    ]
    for place, refusal in refused.items():  # in the order of the events
        outcomes.insert(place, refusal)
    return outcomes


def _note(
    span: PublishSpan, publications: Sequence[Publication], outcomes: Sequence[Outcome]
) -> None:
    """Record in the span the outcome of a single event, or that no event was published."""
    first = outcomes[0]
    if isinstance(first, Refusal):
        if all(isinstance(outcome, Refusal) for outcome in outcomes):
            span.refused(first)
    elif len(outcomes) == 1:
        span.published(
            first.id,
            duplicate=first.duplicate,
            gateways=first.gateways,
            size_bytes=len(publications[0].data),
        )


def _kind(event: IncomingEvent | Refusal) -> str:
    """Metric label: the kind of an event's audience, or ``unknown``."""
    return UNKNOWN if isinstance(event, Refusal) else event.audience.kind


def _failure(answer: IdempotencyKeyReused | BusUnavailable) -> Refusal:
    if isinstance(answer, IdempotencyKeyReused):
        return Refusal(KEY_REUSED, f"the key was used for another event, {answer.id}")
    return bus_failure(
        answer,
        "the bus did not confirm the event; if you send it again with the same idempotency key, it "
        "is published once in any case",
    )
