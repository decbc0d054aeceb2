"""The publish span: child of the producer's span, parent of every pod's fan-out span.

It follows OpenTelemetry's semantic conventions for messaging: kind PRODUCER, name
``publish <audience>``. User ids stay out of traces. If nothing is exported, or the producer chose
not to sample, there is no span, because making one costs 40 µs, a third of a publish.
"""

from __future__ import annotations

from contextvars import Token
from types import TracebackType
from typing import Self

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    set_span_in_context,
)

from clarion_contract.service.telemetry import (
    context_of,
    is_sampled,
    read_traceparent,
    traceparent_of,
)
from clarion_publisher.ingestion.refusal import Refusal


class PublishTracer:
    """Starts publish spans."""

    def __init__(self, tracer: Tracer | None) -> None:
        self._tracer = tracer

    @property
    def records(self) -> bool:
        """Whether there may be spans."""
        return self._tracer is not None

    def begin(self, traceparent: bytes | None, audience: str, *, events: int) -> PublishSpan:
        """A span for the publishing of some events, used as a context manager.

        Args:
            traceparent: the producer's header, as received.
            audience: an audience's kind, or ``batch``.
            events: number of events published together.
        """
        parent = read_traceparent(traceparent)
        if self._tracer is None or not (parent is None or is_sampled(parent)):
            return PublishSpan(None, passed_on(parent))
        span = self._tracer.start_span(
            f"publish {audience}",
            context=Context() if parent is None else context_of(parent),
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "clarion",
                "messaging.operation.name": "publish",
                "messaging.operation.type": "send",
                "messaging.destination.name": audience,
                **({"messaging.batch.message_count": events} if audience == "batch" else {}),
            },
        )
        own = span.get_span_context()
        return PublishSpan(span, traceparent_of(own) if own.trace_flags.sampled else None)


def passed_on(parent: str | None) -> str | None:
    """The traceparent for the gateways where no span is made: the producer's, if it samples."""
    return None if parent is None or not is_sampled(parent) else parent


class PublishSpan:
    """One publish span, or none. Inside the context, log records carry the span's ids.

    Attributes:
        traceparent: sent to the gateways with the events; None: the events are not traced.
    """

    def __init__(self, span: Span | None, traceparent: str | None) -> None:
        self._span = span
        self._current: Token[Context] | None = None
        self.traceparent = traceparent

    @property
    def recording(self) -> bool:
        """Whether there is a span that can record outcomes."""
        return self._span is not None

    def __enter__(self) -> Self:
        if self._span is not None:
            self._current = context.attach(set_span_in_context(self._span))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._span is None or self._current is None:
            return
        context.detach(self._current)
        if error is not None:
            self._fail(error.kind.name if isinstance(error, Refusal) else type(error).__name__)
        self._span.end()

    def published(self, id_: int, *, duplicate: bool, gateways: int, size_bytes: int) -> None:
        """Record the outcome of a single event."""
        if self._span is not None:
            self._span.set_attributes(
                {
                    "messaging.message.id": str(id_),
                    "messaging.message.body.size": size_bytes,
                    "clarion.duplicate": duplicate,
                    "clarion.gateways": gateways,
                }
            )

    def refused(self, refusal: Refusal) -> None:
        """Record that no event was published, and why."""
        self._fail(refusal.kind.name)

    def _fail(self, name: str) -> None:
        if self._span is not None:
            self._span.set_attribute("error.type", name)
            self._span.set_status(Status(StatusCode.ERROR))
