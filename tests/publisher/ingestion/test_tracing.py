"""One trace contains an event's whole way, from the producer's span to the gateways."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.events.audience import user_audience
from clarion_contract.service.serving import bind
from clarion_contract.service.telemetry import configure_logging, is_sampled, read_traceparent
from clarion_publisher.app import running
from clarion_publisher.ingestion.tracing import PublishTracer
from clarion_publisher.settings import PublisherSettings
from tests.conftest import SECRET
from tests.e2e.ports import free_port
from tests.publisher.service import bearer

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
NOT_SAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"


class Traced:
    """A publisher on an ASGI transport, with access to its spans and events."""

    def __init__(self, redis_url: str, namespace: str) -> None:
        self.settings = PublisherSettings(
            redis_url=redis_url, namespace=namespace, jwt_secret=SECRET
        )
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        with contextlib.closing(bind("127.0.0.1", 0)) as port:
            url = f"http://127.0.0.1:{port.getsockname()[1]}"
            async with (
                running(self.settings, port, provider=self.provider),
                httpx.AsyncClient(base_url=url, trust_env=False) as client,
            ):
                return await client.post(path, json=body, headers={**bearer(), **headers})

    async def traces(self, user: str) -> list[str | None]:
        """The traceparents in the user's events, as gateways get them."""
        bus = Bus(
            redis_from_url(self.settings.redis_url), self.settings.keyspace, self.settings.history
        )
        (history,) = await bus.history([(user_audience(user), 0)], limit=100, broken_too=True)
        await bus.aclose()
        return [event.trace for event in history.events]

    def span(self) -> ReadableSpan:
        (span,) = self.exporter.get_finished_spans()
        return span


@pytest.fixture
def traced(redis_url: str, namespace: str) -> Traced:
    return Traced(redis_url, namespace)


EVENT = {"audience": {"user": "alice"}, "type": "t", "data": 12}


async def test_the_span_stands_between_producer_and_gateways(traced: Traced) -> None:
    response = await traced.post("/v1/events", EVENT, traceparent=SAMPLED)
    span = traced.span()
    assert span.parent is not None
    assert span.context is not None
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert f"{span.context.trace_id:032x}" == TRACE
    assert await traced.traces("alice") == [f"00-{TRACE}-{span.context.span_id:016x}-01"]
    assert (span.name, span.kind) == ("publish user", SpanKind.PRODUCER)
    assert span.attributes == {
        "messaging.system": "clarion",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "user",
        "messaging.message.id": response.json()["id"],
        "messaging.message.body.size": 2,
        "clarion.duplicate": False,
        "clarion.gateways": 0,
    }


async def test_without_a_producers_trace_one_begins(traced: Traced) -> None:
    await traced.post("/v1/events", EVENT)
    assert traced.span().parent is None
    (trace,) = await traced.traces("alice")
    assert trace is not None
    assert is_sampled(trace)


async def test_a_producer_that_does_not_sample_is_respected(traced: Traced) -> None:
    await traced.post("/v1/events", EVENT, traceparent=NOT_SAMPLED)
    assert traced.exporter.get_finished_spans() == ()
    assert await traced.traces("alice") == [None]


async def test_a_batch_has_one_span(traced: Traced) -> None:
    await traced.post("/v1/events:batch", {"events": [EVENT, {}, EVENT]}, traceparent=SAMPLED)
    span = traced.span()
    assert span.name == "publish batch"
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 3
    assert span.context is not None
    trace = f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert await traced.traces("alice") == [trace, trace]


async def test_a_refused_event_marks_its_span(traced: Traced) -> None:
    await traced.post("/v1/events", {**EVENT, "data": "x" * 70_000}, traceparent=SAMPLED)
    span = traced.span()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "data_too_large"


async def test_user_ids_stay_out_of_traces(traced: Traced) -> None:
    await traced.post("/v1/events", EVENT)
    assert "alice" not in traced.span().to_json()


@pytest.mark.usefixtures("logging_restored")
class TestLogs:
    """Records carry the ids of their trace."""

    async def test_of_a_lost_bus(self, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
        log_as_json()
        traced = Traced(f"redis://127.0.0.1:{free_port()}/0", namespace)
        response = await traced.post("/v1/events", EVENT, traceparent=SAMPLED)
        assert response.status_code == 503
        span = traced.span().context
        assert span is not None
        record = record_of(capsys, "bus lost")
        assert (record["trace_id"], record["span_id"]) == (TRACE, f"{span.span_id:016x}")

    async def test_while_publishing(
        self, traced: Traced, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_as_json()
        publish_all = PublishQueue.publish_all

        async def noted(*arguments: Any) -> Any:
            logging.getLogger("a.library").warning("a record of its own")
            return await publish_all(*arguments)

        monkeypatch.setattr(PublishQueue, "publish_all", noted)
        await traced.post("/v1/events", EVENT, traceparent=SAMPLED)
        span = traced.span().context
        assert span is not None
        record = record_of(capsys, "a record of its own")
        assert (record["trace_id"], record["span_id"]) == (TRACE, f"{span.span_id:016x}")

    async def test_of_a_bug(
        self, traced: Traced, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_as_json()

        async def broken(*_: Any) -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(PublishQueue, "publish_all", broken)
        for header, expected in ((SAMPLED, TRACE), ("junk", None)):
            response = await traced.post("/v1/events", EVENT, traceparent=header)
            assert response.status_code == 500
            assert record_of(capsys, "request failed by a bug").get("trace_id") == expected


def log_as_json() -> None:
    configure_logging(level="info", log_format="json", service="publisher", pod="pod-1")


def record_of(capsys: pytest.CaptureFixture[str], event: str) -> dict[str, Any]:
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (record,) = [record for record in records if record["event"] == event]
    return record


@pytest.mark.parametrize(
    ("header", "carried"), [(SAMPLED, SAMPLED), (NOT_SAMPLED, None), ("junk", None), (None, None)]
)
def test_without_a_collector_the_producers_trace_passes(
    header: str | None, carried: str | None
) -> None:
    tracer = PublishTracer(None)
    with tracer.begin(header.encode() if header else None, "all", events=1) as span:
        assert span.traceparent == carried


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        SAMPLED.upper(),
        SAMPLED + "-more",
        SAMPLED + "\n",
        SAMPLED[:-1],
        "ff" + SAMPLED[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        SAMPLED.replace("-01", " 01"),
        "\xff",
    ],
)
def test_invalid_traceparents_count_as_none(header: str) -> None:
    """A space or newline in one would forge the header of the bus message."""
    assert read_traceparent(header.encode("latin-1")) is None
