"""The fan-out span: one per traced event and pod, a child of the publisher's publish span.

Rounds begin and end it. An event is traced if its producer decided to sample it; any other event
costs one comparison.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from opentelemetry.trace import Span, SpanKind, Tracer

from clarion_contract.events.event import Event
from clarion_contract.service.telemetry import context_of, is_sampled
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery import fanout


class FanoutTracer:
    """Opens and closes the spans of a round. Without a tracer it does nothing."""

    def __init__(self, tracer: Tracer | None, pod: str) -> None:
        self._tracer = tracer
        self._pod = pod

    def begin(self, events: Sequence[Event], hub: Hub) -> list[Span]:
        """Begin a span for each traced event."""
        tracer = self._tracer
        if tracer is None:
            return []
        return [
            self._span(tracer, event, event.trace, hub)
            for event in events
            if event.trace is not None and is_sampled(event.trace)
        ]

    def end(self, spans: Sequence[Span], hub: Hub) -> None:
        """End the spans, once every write of the round has been handed to the sockets."""
        slow = (
            sum(1 for connection in hub.connections if connection.socket.unsent_bytes)
            if spans
            else 0
        )
        now = time.time_ns()
        for span in spans:
            span.set_attribute("clarion.slow", slow)
            span.end(now)

    def _span(self, tracer: Tracer, event: Event, trace: str, hub: Hub) -> Span:
        recipients, size_bytes = fanout.reach(event, hub)
        return tracer.start_span(
            f"fanout {event.audience.kind}",
            context=context_of(trace),
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
