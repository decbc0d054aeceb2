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
STATES: Final = ("offline", "online")


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
        self._transitions = Counter(
            "clarion_upstream_transitions_total",
            "Users that came online or went offline, and of whom the upstream was told.",
            ["state"],
            registry=registry,
        )
        self._transitions_waiting = Gauge(
            "clarion_upstream_transitions_waiting",
            "Users that came online or went offline, and of whom the upstream was not told yet.",
            registry=registry,
        )
        for outcome in OUTCOMES:
            self._calls.labels(outcome)
        for state in STATES:
            self._transitions.labels(state)

    def observe(self, under_way: Callable[[], int], circuit_open: Callable[[], bool]) -> None:
        """Read the gauges from their owner at each scrape."""
        self._under_way.set_function(under_way)
        self._circuit_open.set_function(circuit_open)

    def observe_transitions(self, waiting: Callable[[], int]) -> None:
        """Read the gauge from its owner at each scrape."""
        self._transitions_waiting.set_function(waiting)

    def told(self, online: int, all_: int) -> None:
        """The upstream has taken transitions; so many of them of users that came online."""
        self._transitions.labels("online").inc(online)
        self._transitions.labels("offline").inc(all_ - online)

    def call(self, outcome: str, seconds: float) -> None:
        """One call has ended."""
        self._calls.labels(outcome).inc()
        self._seconds.observe(seconds)
