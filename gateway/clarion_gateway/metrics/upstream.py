"""The metrics of calls to the upstream (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
OUTCOMES: Final = (
    "answered",
    "cancelled",
    "circuit_open",
    "invalid_answer",
    "status",
    "timeout",
    "unreachable",
)


class UpstreamMetrics:
    """The metrics, on a gateway's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "clarion_upstream_calls_total",
            "Calls to the upstream, retries included in their call, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "clarion_upstream_duration_seconds",
            "Time of a call to the upstream, with its wait for a slot and its retries.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.retries = Counter(
            "clarion_upstream_retries_total",
            "Attempts to call the upstream beyond the first one of a call.",
            registry=registry,
        )
        self._under_way = Gauge(
            "clarion_upstream_under_way",
            "Calls to the upstream that have a slot.",
            registry=registry,
        )
        self._circuit_open = Gauge(
            "clarion_upstream_circuit_open",
            "1 while calls to the upstream fail at once because many before them failed.",
            registry=registry,
        )
        for outcome in OUTCOMES:
            self._calls.labels(outcome)

    def observe(self, under_way: Callable[[], int], circuit_open: Callable[[], bool]) -> None:
        """Read the gauges from their owner at each scrape."""
        self._under_way.set_function(under_way)
        self._circuit_open.set_function(circuit_open)

    def call(self, outcome: str, seconds: float) -> None:
        """One call has ended."""
        self._calls.labels(outcome).inc()
        self._seconds.observe(seconds)
