"""`clarion_gateway.delivery.tracing.FanoutTracer`: a span per traced event and pod, under the
producer's.
"""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.event import Event
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery.tracing import FanoutTracer
from clarion_gateway.wire.native import PLAIN
from tests.gateway.recorder import Recorder, event

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01", f"00-{TRACE_ID}-{SPAN_ID}-00"
ALICE = Audience("user", "alice")


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    for user in (None, None, "alice", "alice", "bob"):
        hub.add(Recorder(user))
    return hub


def spans(hub: Hub, *events: Event) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = FanoutTracer(provider.get_tracer("clarion.gateway"), "pod-test")
    begun = tracer.begin(events, hub)
    assert exporter.get_finished_spans() == ()
    tracer.end(begun, hub)
    return list(exporter.get_finished_spans())


def test_a_sampled_event_has_a_span_under_its_producers(hub: Hub) -> None:
    (span,) = spans(hub, event(7, AUTHENTICATED, type_="order.updated", trace=SAMPLED))
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert span.kind is SpanKind.CONSUMER
    assert span.name == "fanout authenticated"
    assert span.end_time is not None
    assert span.attributes is not None
    size = len(PLAIN.event(event(7, AUTHENTICATED, type_="order.updated")))
    attributes = dict(span.attributes)
    assert attributes["messaging.message.id"] == "7"
    assert attributes["clarion.event.type"] == "order.updated"
    assert attributes["clarion.pod"] == "pod-test"
    assert attributes["clarion.recipients"] == 3
    assert attributes["clarion.bytes"] == 3 * size
    assert attributes["clarion.slow"] == 0


@pytest.mark.parametrize("trace", [None, UNSAMPLED])
def test_what_the_producer_did_not_sample_has_none(hub: Hub, trace: str | None) -> None:
    assert spans(hub, event(1, trace=trace)) == []


def test_each_event_of_a_round_has_its_own(hub: Hub) -> None:
    traced = [event(1, ALL, trace=SAMPLED), event(2, ALICE, trace=SAMPLED), event(3)]
    recipients = [(span.attributes or {})["clarion.recipients"] for span in spans(hub, *traced)]
    assert recipients == [5, 2]


def test_a_span_counts_the_clients_that_have_not_taken_everything_yet(hub: Hub) -> None:
    slow = next(iter(hub.connections))
    assert isinstance(slow, Recorder)
    slow.unsent = 100
    (span,) = spans(hub, event(1, trace=SAMPLED))
    assert (span.attributes or {})["clarion.slow"] == 1


def test_the_excluded_connection_is_no_recipient(hub: Hub) -> None:
    excluded = next(iter(hub.connections)).id
    (span,) = spans(hub, event(1, trace=SAMPLED, exclude=excluded))
    assert (span.attributes or {})["clarion.recipients"] == 4


def test_an_event_for_nobody_here_has_a_span_that_says_so() -> None:
    """A trace shows the event on every pod, including pods without recipients."""
    (span,) = spans(Hub(), event(1, ALL, trace=SAMPLED))
    assert (span.attributes or {})["clarion.recipients"] == 0


def test_without_a_collector_nothing_is_traced(hub: Hub) -> None:
    tracer = FanoutTracer(None, "pod-test")
    begun = tracer.begin([event(1, trace=SAMPLED)], hub)
    tracer.end(begun, hub)
    assert begun == []
