"""The row of "Clarion overview" about what users feel."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import PUBLISHERS, gauge, increase, quantile, rate

_SLOW: Final = Thresholds(0.25, 1)

DELIVERY: Final = Row(
    "What users feel",
    [
        Panel(
            "Connections by login and transport",
            "Live connections, without those that are still catching up after a resume.",
            "short",
            [
                Query(
                    f"sum by (identity, wire) ({gauge('clarion_connections')})",
                    "{{identity}}, {{wire}}",
                )
            ],
            "a-pod-is-at-capacity",
            stacked=True,
        ),
        Panel(
            "Delivery latency",
            "Half of the events, and all but one in a hundred, were written within this time. The "
            "time contains the difference between the clocks of Redis and of the pods.",
            "s",
            [
                Query(quantile(0.5, "clarion_publish_to_write_seconds"), "p50"),
                Query(quantile(0.99, "clarion_publish_to_write_seconds"), "p99"),
            ],
            "events-come-late",
            thresholds=_SLOW,
        ),
        Panel(
            "Delivery latency distribution",
            "How the events of each interval spread over time. A second band is a pod that lags.",
            "short",
            [Query(increase("clarion_publish_to_write_seconds_bucket", by="le"), "{{le}}")],
            "events-come-late",
            kind="heatmap",
        ),
        Panel(
            "Deliveries by audience",
            "Events written to connections per second, without replays to clients that resume.",
            "ops",
            [Query(rate("clarion_deliveries_total", by="audience"), "{{audience}}")],
            "events-come-late",
            stacked=True,
        ),
        Panel(
            "Published events by audience",
            "Events that Redis took, alone or in batches.",
            "ops",
            [
                Query(
                    rate(
                        "clarion_publish_events_total",
                        'outcome="published"',
                        by="audience",
                        pods=PUBLISHERS,
                    ),
                    "{{audience}}",
                )
            ],
            "503-on-publish",
            stacked=True,
        ),
        Panel(
            "Slow clients disconnected",
            "Connections closed with 4408 because the clients did not read fast enough. They "
            "return and resume.",
            "ops",
            [Query(rate("clarion_slow_consumers_total"), "closed")],
            "slow-consumers",
        ),
    ],
    collapsed=False,
)
