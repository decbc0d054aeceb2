"""Logs and traces, set up the same way in both services.

- Logs: structlog writes JSON lines in a cluster and readable text on a terminal. Every record holds
  the ids of its trace.
- Traces: OTLP over HTTP, configured by the standard ``OTEL_*`` variables. Tracing is off until
  ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or its traces variant) names a collector.

Each service has metrics of its own (`clarion_gateway.metrics.registry`,
`clarion_publisher.metrics`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, MutableMapping
from typing import Any, Final, Literal

import structlog
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from clarion_contract.events.event import TRACEPARENT_PATTERN

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACEPARENT: Final = re.compile(TRACEPARENT_PATTERN)
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16


def configure_logging(
    *, level: str, log_format: Literal["auto", "json", "console"], service: str, pod: str
) -> None:
    """Send the records of structlog and of the standard library to standard error."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace_ids,
        structlog.processors.StackInfoRenderer(),
    ]
    final: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta
    ]
    if console:
        # The default formatter shows local variables, and a token may be among them.
        plain = structlog.dev.plain_traceback
        final.append(structlog.dev.ConsoleRenderer(exception_formatter=plain))
    else:
        shared += [_add_service(service, pod), structlog.processors.format_exc_info]
        final.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The ingress writes one line per request. Here the line would show queries with tokens.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("httpx").setLevel(logging.WARNING)


def exports_traces() -> bool:
    """Whether the ``OTEL_*`` variables name a collector. Without one, spans are wasted work."""
    variables = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(os.environ.get(name) for name in variables)


def tracer_provider(service: str, pod: str) -> TracerProvider:
    """A provider that follows the ``OTEL_*`` variables; it exports only when they name a collector.

    The sampler is the SDK's default, ``parentbased_always_on``, which follows the producer.
    """
    resource = Resource.create({"service.name": service, "service.instance.id": pod})
    provider = TracerProvider(resource=resource)
    if exports_traces():
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def is_sampled(traceparent: str) -> bool:
    """Whether the producer of a W3C traceparent decided to sample (its last flag bit)."""
    return bool(int(traceparent[-2:], 16) & TraceFlags.SAMPLED)


def read_traceparent(header: bytes | None) -> str | None:
    """A valid traceparent, or None; an invalid one is ignored (W3C Trace Context, 4.3)."""
    if header is None:
        return None
    text = header.decode("latin-1")
    if not _TRACEPARENT.fullmatch(text) or text[3:35] == _NO_TRACE or text[36:52] == _NO_SPAN:
        return None
    return text


@contextlib.contextmanager
def traced_logs(traceparent: str | None) -> Iterator[None]:
    """Within this context, log records carry the ids in the traceparent; without one, none."""
    token = context.attach(Context() if traceparent is None else context_of(traceparent))
    try:
        yield
    finally:
        context.detach(token)


def context_of(traceparent: str) -> Context:
    """The OpenTelemetry context that a traceparent names."""
    return _PROPAGATOR.extract({"traceparent": traceparent})


def traceparent_of(span: SpanContext) -> str:
    """The W3C traceparent of a span (https://www.w3.org/TR/trace-context/#traceparent-header)."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def _add_trace_ids(
    _logger: Any,  # noqa: ANN401
    _name: str,
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = f"{span.trace_id:032x}"
        event["span_id"] = f"{span.span_id:016x}"
    return event


def _add_service(service: str, pod: str) -> structlog.typing.Processor:
    def add(
        _logger: Any,  # noqa: ANN401
        _name: str,
        event: MutableMapping[str, Any],
    ) -> MutableMapping[str, Any]:
        return {"service": service, "pod": pod, **event}

    return add
