"""All Prometheus metrics of the publisher (docs/metrics.md).

Callers cannot choose label values. Events of a batch are counted together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from clarion_contract.events.audience import KINDS
from clarion_contract.events.errors import Fault
from clarion_contract.service.declaring import CatalogueMetrics
from clarion_contract.service.faults import fault_gauge, observe_faults

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_REFUSED_EARLY: Final = (
    "malformed_request",
    "request_timeout",
    "head_too_large",
    "too_many_sockets",
    "no_descriptors",
    "answer_timeout",
)
# Outcomes that are not the producer's fault.
_FAILURES: Final = ("internal", "bus_refused", "bus_unavailable", "overloaded", "keys_unavailable")
_COUNTS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000)


class Metrics:
    """One pod's metrics on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.ready = Gauge("clarion_publisher_ready", "1 while /readyz says so.", registry=registry)
        self._requests = Counter(
            "clarion_publish_requests_total",
            "Requests, by outcome (published, duplicate, partial or a problem) and audience (batch "
            "for batches, unknown if the request was refused before it was read).",
            ["outcome", "audience"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "clarion_publish_duration_seconds",
            "Time from a request's head to its answer, by audience.",
            ["audience"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._events = Counter(
            "clarion_publish_events_total",
            "Events, alone or in batches, by outcome and audience.",
            ["outcome", "audience"],
            registry=registry,
        )
        self._operations = Counter(
            "clarion_publisher_operations_total",
            "Requests other than publishing, by operation and outcome (done, or a problem).",
            ["operation", "outcome"],
            registry=registry,
        )
        self._tokens_refused = Counter(
            "clarion_publisher_tokens_refused_total",
            "Requests whose token is missing or identifies nobody, by reason.",
            ["reason"],
            registry=registry,
        )
        self._http_refused = Counter(
            "clarion_publisher_http_requests_refused_total",
            "Requests and connections refused by the HTTP server itself, by reason.",
            ["reason"],
            registry=registry,
        )
        self._sockets = Gauge(
            "clarion_publisher_sockets",
            "Open TCP connections on the public port, idle ones included.",
            registry=registry,
        )
        self._sockets_max = Gauge(
            "clarion_publisher_sockets_max",
            "TCP connections that the public port takes at most.",
            registry=registry,
        )
        self._sockets_configured = Gauge(
            "clarion_publisher_sockets_configured",
            "PUBLISHER_MAX_SOCKETS. More than the pod takes where it has too few file descriptors.",
            registry=registry,
        )
        self._pipeline_events = Histogram(
            "clarion_publisher_pipeline_events",
            "Events that were sent to Redis together.",
            buckets=_COUNTS,
            registry=registry,
        )
        self._pipeline_seconds = Histogram(
            "clarion_publisher_pipeline_duration_seconds",
            "Time of one round trip to Redis.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._bus_errors = Counter(
            "clarion_publisher_bus_errors_total",
            "Round trips to Redis that failed, or in which Redis refused every event.",
            registry=registry,
        )
        self.catalogue = CatalogueMetrics(registry, "clarion_publisher")
        self._faults = fault_gauge(registry, "clarion_publisher_bus_fault")
        self.job_failures = Counter(
            "clarion_publisher_job_failures_total",
            "Background jobs that raised and were restarted, by task. Each is a bug.",
            ["task"],
            registry=registry,
        )
        self._pending = Gauge(
            "clarion_publisher_pending",
            "Events that wait for Redis.",
            registry=registry,
        )
        self._body_bytes = Gauge(
            "clarion_publisher_body_bytes",
            "Memory held by the bodies of requests under way.",
            registry=registry,
        )
        self._draining = Gauge(
            "clarion_publisher_draining", "1 from SIGTERM on.", registry=registry
        )

        # prometheus_client looks up a label's child under a lock, about 1 µs each time, and a
        # publish needs three. The labels are a closed set, so this cache is bounded.
        self._request_count = functools.cache(self._requests.labels)
        self._request_time = functools.cache(self._request_seconds.labels)
        self._event_count = functools.cache(self._events.labels)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Begin each series of failures: `rate()` misses the failure that one begins with."""
        for reason in _REFUSED_EARLY:
            self._http_refused.labels(reason)
        for outcome in _FAILURES:
            for audience in (*KINDS, "batch", "unknown"):
                self._requests.labels(outcome, audience)

    def observe_pod(
        self,
        *,
        sockets: Callable[[], int],
        sockets_max: int,
        sockets_configured: int,
        pending: Callable[[], int],
        body_bytes: Callable[[], int],
        draining: Callable[[], bool],
        fault: Callable[[], Fault | None],
    ) -> None:
        """Read these gauges from their owners at each scrape."""
        observe_faults(self._faults, fault)
        self._sockets.set_function(sockets)
        self._sockets_max.set(sockets_max)
        self._sockets_configured.set(sockets_configured)
        self._pending.set_function(pending)
        self._body_bytes.set_function(body_bytes)
        self._draining.set_function(draining)

    def request(self, outcome: str, audience: str, seconds: float) -> None:
        """One request has been answered."""
        self._request_count(outcome, audience).inc()
        self._request_time(audience).observe(seconds)

    def http_refused(self, reason: str) -> None:
        """The HTTP server refused a request or a connection before any app saw it."""
        self._http_refused.labels(reason).inc()

    def events(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Events were published or refused; the counts are by outcome and audience."""
        for (outcome, audience), count in counts.items():
            self._event_count(outcome, audience).inc(count)

    def event(self, outcome: str, audience: str) -> None:
        """One event was published or refused."""
        self._event_count(outcome, audience).inc()

    def operation(self, operation: str, outcome: str) -> None:
        """One request other than publishing has been answered."""
        self._operations.labels(operation, outcome).inc()

    def token_refused(self, reason: str) -> None:
        """A token was missing or identified nobody."""
        self._tokens_refused.labels(reason).inc()

    def pipeline(self, events: int, seconds: float) -> None:
        """A round trip to Redis is over."""
        self._pipeline_events.observe(events)
        self._pipeline_seconds.observe(seconds)

    def bus_error(self) -> None:
        """A round trip to Redis published nothing."""
        self._bus_errors.inc()
