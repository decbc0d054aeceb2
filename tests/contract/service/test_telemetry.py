"""Logs and traces."""

from __future__ import annotations

import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanContext, TraceFlags

from clarion_contract.events.event import TRACEPARENT_PATTERN
from clarion_contract.service.telemetry import (
    configure_logging,
    context_of,
    exports_traces,
    is_sampled,
    traceparent_of,
    tracer_provider,
)

pytestmark = pytest.mark.usefixtures("logging_restored")


def configure(log_format: str = "json", level: str = "info") -> None:
    configure_logging(level=level, log_format=log_format, service="publisher", pod="pod-1")  # type: ignore[arg-type]


class TestLogs:
    def test_records_are_json_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure()
        structlog.get_logger("a").info("said", number=1, text="a\nb")
        logging.getLogger("b").warning("also %s", "said")
        first, second = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert first["event"] == "said"
        assert (first["service"], first["pod"], first["number"]) == ("publisher", "pod-1", 1)
        assert (second["event"], second["level"], second["logger"]) == ("also said", "warning", "b")

    def test_records_carry_trace_ids(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure()
        tracer = TracerProvider().get_tracer("test")
        with tracer.start_as_current_span("span") as span:
            structlog.get_logger().info("inside")
        record = json.loads(capsys.readouterr().err)
        assert record["trace_id"] == f"{span.get_span_context().trace_id:032x}"

    def test_levels(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure(level="warning")
        structlog.get_logger().info("quiet")
        logging.getLogger("uvicorn.access").error("GET /ws?token=abc")
        logging.getLogger("httpx").info("GET https://user:password@issuer/")
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("log_format", ["json", "console"])
    def test_tracebacks_show_no_local_variables(
        self, capsys: pytest.CaptureFixture[str], log_format: str
    ) -> None:
        """A token may be among them."""
        configure(log_format)

        def fail(token: str) -> None:
            raise RuntimeError(len(token))

        try:
            fail(str(7**10))
        except RuntimeError:
            structlog.get_logger().exception("failed")
            logging.getLogger("library").exception("failed")
        output = capsys.readouterr().err
        assert "RuntimeError: 9" in output
        assert "282475249" not in output


class TestTraces:
    @given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
    def test_traceparents_round_trip(self, trace_id: int, span_id: int, flags: int) -> None:
        context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
        text = traceparent_of(context)
        found = trace.get_current_span(context_of(text)).get_span_context()
        assert (found.trace_id, found.span_id) == (trace_id, span_id)
        assert is_sampled(text) == bool(flags & 1) == found.trace_flags.sampled

    @given(st.from_regex(TRACEPARENT_PATTERN, fullmatch=True))
    def test_any_traceparent_of_the_pattern_can_be_read(self, text: str) -> None:
        assert is_sampled(text) in {True, False}
        context_of(text)

    @pytest.mark.parametrize(
        "name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
    )
    def test_spans_leave_only_for_a_collector(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        assert not exports_traces()
        monkeypatch.setenv(name, "http://127.0.0.1:1/v1/traces")
        assert exports_traces()

    def test_the_resource_names_service_and_pod(self) -> None:
        provider = tracer_provider("clarion-publisher", "pod-1")
        assert provider.resource.attributes["service.name"] == "clarion-publisher"
        assert provider.resource.attributes["service.instance.id"] == "pod-1"
        provider.shutdown()
