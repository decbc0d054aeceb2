"""The row of "Clarion gateway pods" about delivery rounds."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.gateway_pods.each_pod import each_pod
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import mean, quantile, rate

FANOUT: Final = Row(
    "Fan-out",
    [
        Panel(
            "Deliveries per second",
            "Events written to connections per second.",
            "ops",
            [Query(rate("clarion_deliveries_total", by="pod"), "{{pod}}")],
            "events-come-late",
        ),
        Panel(
            "Bytes delivered",
            "Bytes of these events per second.",
            "Bps",
            [Query(rate("clarion_delivered_bytes_total", by="pod"), "{{pod}}")],
            "events-come-late",
        ),
        Panel(
            "Delivery latency, p99",
            "Per pod. If one pod is above the others, it lacks CPU, or a handler blocks it.",
            "s",
            [Query(quantile(0.99, "clarion_publish_to_write_seconds", by="pod"), "{{pod}}")],
            "events-come-late",
            thresholds=Thresholds(0.25, 1),
        ),
        Panel(
            "Delivery rounds",
            "Delivery rounds per second. At low load a round holds one event; at high load rounds "
            "grow and their number does not.",
            "ops",
            [Query(rate("clarion_fanout_duration_seconds_count", by="pod"), "{{pod}}")],
            "events-come-late",
        ),
        Panel(
            "Events per round",
            "The mean. It grows when the pod is busy, because writes are then fewer and larger.",
            "short",
            [Query(mean("clarion_fanout_events", by="pod"), "{{pod}}")],
            "events-come-late",
        ),
        Panel(
            "Recipients per round",
            "The mean number of connections written to.",
            "short",
            [Query(mean("clarion_fanout_recipients", by="pod"), "{{pod}}")],
            "events-come-late",
        ),
        Panel(
            "Round duration, p99",
            "From its start to its last write.",
            "s",
            [Query(quantile(0.99, "clarion_fanout_duration_seconds", by="pod"), "{{pod}}")],
            "events-come-late",
            thresholds=Thresholds(0.25, 1),
        ),
        Panel(
            "Time spent delivering",
            "Share of each second that the pod spends delivering. Near 1 it can deliver no more.",
            "percentunit",
            [Query(rate("clarion_fanout_duration_seconds_sum", by="pod"), "{{pod}}")],
            "events-come-late",
            thresholds=Thresholds(0.5, 0.8),
            maximum=1,
        ),
        Panel(
            "Events waiting for delivery",
            "Events read from Redis and not delivered yet. At GATEWAY_PENDING_MAX_EVENTS the pod "
            "pauses reading.",
            "short",
            each_pod("clarion_pending_events"),
            "events-come-late",
            thresholds=Thresholds(1_000, 10_000),
        ),
    ],
)
