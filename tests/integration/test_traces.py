"""Spans of a pod, in a provider whose exporter keeps them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, user_audience
from clarion_gateway.app import running
from tests.integration import pod as fixture
from tests.integration.conftest import Start
from tests.integration.pod import Pod, eventually, token
from tests.integration.sockets import Client, Raw, opened, upgraded

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Receives the spans of every gateway that the test starts."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(fixture, "running", partial(running, provider=provider))
    yield exporter
    provider.shutdown()


async def spans_of(exporter: InMemorySpanExporter, count: int) -> None:
    async def there() -> bool:
        return len(exporter.get_finished_spans()) >= count

    await eventually(there, what=f"{count} spans")


async def frame_bytes(raw: Raw) -> int:
    """The size of the next frame as received; a server's frames are not masked."""
    _, payload = await raw.frame()
    return len(payload) + (2 if len(payload) < 126 else 4)


async def test_a_sampled_event_has_one_span_under_its_producers(
    exporter: InMemorySpanExporter, start: Start
) -> None:
    """It has the number of recipients on this pod, and of bytes sent."""
    async with start() as pod, upgraded(pod) as raw, opened(pod) as client:
        id_ = await pod.publish(type_="order.updated", data=b'"x"', trace=SAMPLED)
        size_bytes = await frame_bytes(raw)
        await client.receive("event")
        await spans_of(exporter, 1)
        await pod.publish()
        await client.receive("event")
        (span,) = exporter.get_finished_spans()

    assert span.name == "fanout all"
    assert span.context.trace_id == int(TRACE, 16)
    assert span.parent is not None
    assert span.parent.span_id == int(PARENT, 16)
    assert span.attributes is not None
    attributes = dict(span.attributes)
    assert attributes["clarion.recipients"] == 2
    assert attributes["clarion.bytes"] == 2 * size_bytes
    assert attributes["clarion.pod"] == "pod-test"
    assert attributes["clarion.event.type"] == "order.updated"
    assert attributes["messaging.message.id"] == str(id_)
    assert attributes["messaging.destination.name"] == "all"
    assert attributes["clarion.slow"] == 0
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time >= span.start_time


async def test_each_pod_has_a_span_with_recipients_of_its_own(
    exporter: InMemorySpanExporter, start: Start
) -> None:
    async with (
        start(pod="pod-a") as here,
        start(pod="pod-b") as there,
        opened(here),
        opened(here),
        opened(there),
    ):
        await here.publish(trace=SAMPLED)
        await spans_of(exporter, 2)
        spans = exporter.get_finished_spans()
        assert await there.metric("clarion_events_received_total") == 1

    reached = {
        span.attributes["clarion.pod"]: span.attributes["clarion.recipients"]
        for span in spans
        if span.attributes is not None
    }
    assert reached == {"pod-a": 2, "pod-b": 1}
    assert {span.context.trace_id for span in spans} == {int(TRACE, 16)}


@pytest.mark.parametrize(
    ("audience", "recipients"), [(ALL, 2), (AUTHENTICATED, 1), (user_audience("alice"), 1)]
)
async def test_a_span_counts_only_those_who_get_the_event(
    exporter: InMemorySpanExporter, start: Start, audience: Audience, recipients: int
) -> None:
    """These are the connections of its audience, without the excluded one."""
    async with (
        start() as pod,
        opened(pod),
        opened(pod, token=token("alice")),
        opened(pod, token=token("alice")) as excluded,
    ):
        await pod.publish(audience, exclude=excluded.id, trace=SAMPLED)
        await spans_of(exporter, 1)
        (span,) = exporter.get_finished_spans()

    assert span.attributes is not None
    assert span.attributes["clarion.recipients"] == recipients
    assert span.name == f"fanout {audience.kind}"


async def test_what_the_producer_did_not_sample_has_no_span(
    exporter: InMemorySpanExporter, start: Start
) -> None:
    """Nor has an event without a trace. Both are delivered all the same."""
    async with start() as pod, opened(pod) as client:
        await publish_and_receive(pod, client, UNSAMPLED)
        await publish_and_receive(pod, client, None)
        await publish_and_receive(pod, client, SAMPLED)
        await spans_of(exporter, 1)
        spans = exporter.get_finished_spans()

    assert len(spans) == 1


async def publish_and_receive(pod: Pod, client: Client, trace: str | None) -> None:
    await pod.publish(trace=trace)
    await client.receive("event")
