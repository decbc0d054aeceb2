"""The fan-out span: one per traced event and pod, a child of the publisher's publish span.

An event is traced where its producer decided to sample it; all others cost one comparison.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind

from contract.event import Event
from contract.telemetry import context_of, is_sampled
from gateway import fanout
from gateway.hub import Hub


class FanoutTracer:
    """Opens and closes the spans of a round."""

    def __init__(self, provider: TracerProvider, pod: str) -> None:
        self._tracer = provider.get_tracer("clarion.gateway")
        self._pod = pod

    def begin(self, events: Sequence[Event], hub: Hub) -> list[Span]:
        """A span for each traced event, begun now."""
        return [
            self._span(event, hub)
            for event in events
            if event.trace is not None and is_sampled(event.trace)
        ]

    def end(self, spans: Sequence[Span]) -> None:
        """Every write of the round has been handed to the sockets."""
        now = time.time_ns()
        for span in spans:
            span.end(now)

    def _span(self, event: Event, hub: Hub) -> Span:
        recipients, size_bytes = fanout.reach(event, hub)
        return self._tracer.start_span(
            f"fanout {event.audience.kind}",
            context=context_of(event.trace or ""),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "clarion",
                "messaging.operation.name": "fanout",
                "messaging.operation.type": "process",
                "messaging.message.id": str(event.id),
                "messaging.destination.name": event.audience.kind,
                "clarion.event.type": event.type,
                "clarion.pod": self._pod,
                "clarion.recipients": recipients,
                "clarion.bytes": size_bytes,
            },
        )
