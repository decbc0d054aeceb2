"""The metrics of the outbox (docs/metrics.md). They exist where PUBLISHER_OUTBOX_URL is set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from clarion_publisher.ingestion.ingestion import Outcome, label_of

_COUNTS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000)
# The refusals that set a row aside.
_REFUSED: Final = ("invalid_event", "data_too_large", "key_reused")


class OutboxMetrics:
    """One pod's metrics of the outbox."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._connected = Gauge(
            "clarion_publisher_outbox_connected",
            "1 while the pod is connected to the outbox's database and finds its tables.",
            registry=registry,
        )
        self._lag = Gauge(
            "clarion_publisher_outbox_lag_seconds",
            "Age of the oldest row that waits, 0 if none waits. It counts from the INSERT.",
            registry=registry,
        )
        self._waiting = Gauge(
            "clarion_publisher_outbox_waiting_rows",
            "Committed rows that wait, counted up to 100,000.",
            registry=registry,
        )
        self._set_aside = Gauge(
            "clarion_publisher_outbox_refused_rows",
            "Rows in clarion_outbox_refused, counted up to 100,000.",
            registry=registry,
        )
        self._batch_rows = Histogram(
            "clarion_publisher_outbox_batch_rows",
            "Rows that were read together.",
            buckets=_COUNTS,
            registry=registry,
        )
        self._rows = Counter(
            "clarion_publisher_outbox_rows_total",
            "Rows handed in, by outcome (published, duplicate or a refusal). Those with a "
            "temporary refusal are handed in again.",
            ["outcome"],
            registry=registry,
        )
        self._refused = Counter(
            "clarion_publisher_outbox_refused_total",
            "Rows set aside, because they can never be published, by reason.",
            ["reason"],
            registry=registry,
        )
        self._errors = Counter(
            "clarion_publisher_outbox_errors_total",
            "Times the outbox's database could not be reached or used.",
            registry=registry,
        )
        for outcome in ("published", "duplicate", "bus_unavailable", "bus_refused"):
            self._rows.labels(outcome)
        for reason in _REFUSED:
            self._refused.labels(reason)

    def connected(self, yes: bool) -> None:
        """The database has been reached, or is lost."""
        self._connected.set(yes)

    def error(self) -> None:
        """The database could not be reached or used."""
        self._errors.inc()

    def backlog(self, waiting: int, lag_seconds: float, refused: int) -> None:
        """The rows that wait and the rows set aside."""
        self._waiting.set(waiting)
        self._lag.set(lag_seconds)
        self._set_aside.set(refused)

    def batch(self, outcomes: Sequence[Outcome]) -> None:
        """A batch has been handed in."""
        self._batch_rows.observe(len(outcomes))
        counts: dict[str, int] = {}
        for outcome in outcomes:
            label = label_of(outcome)
            counts[label] = counts.get(label, 0) + 1
        for label, count in counts.items():
            self._rows.labels(label).inc(count)

    def refused(self, reason: str) -> None:
        """A row has been set aside."""
        self._refused.labels(reason).inc()
