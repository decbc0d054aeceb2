"""The row of "Clarion overview" about the figures that fit on one glance."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import PUBLISHERS, gauge, in_range, or_none, quantile, rate

_READY: Final = f"sum (max by (namespace, pod) ({gauge('clarion_ready')}))"
_SLOW: Final = Thresholds(0.25, 1)
_FAULTS: Final = 'outcome!~"internal|bus_refused|bus_unavailable|overloaded|keys_unavailable"'

GLANCE: Final = Row(
    "At a glance",
    [
        Panel(
            "Connections",
            "Live connections over all gateway pods. One user may have several.",
            "short",
            [Query(f"sum ({gauge('clarion_connections')})", "connections")],
            "a-pod-is-at-capacity",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Delivery latency, p99",
            "From the time at Redis when an event is published to the last write of the round that "
            "carried it. Users notice this plus the network to them.",
            "s",
            [Query(quantile(0.99, "clarion_publish_to_write_seconds"), "p99")],
            "events-come-late",
            kind="stat",
            thresholds=_SLOW,
            width=4,
            height=4,
        ),
        Panel(
            "Deliveries per second",
            "Events written to connections per second: events times recipients.",
            "ops",
            [Query(rate("clarion_deliveries_total"), "deliveries")],
            "events-come-late",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Failed publish requests",
            "Share of publish requests that failed through no fault of the producer: a bug, Redis, "
            "overload, missing keys.",
            "percentunit",
            [
                Query(
                    f"1 - {rate('clarion_publish_requests_total', _FAULTS, pods=PUBLISHERS)}"
                    f" / {rate('clarion_publish_requests_total', pods=PUBLISHERS)}",
                    "failed",
                )
            ],
            "503-on-publish",
            kind="stat",
            thresholds=Thresholds(0.001, 0.01),
            width=4,
            height=4,
        ),
        Panel(
            "Data loss in Redis",
            "Gaps that no log could fill, because Redis itself lost data, within the time that the "
            "dashboard shows. Clients were told to fetch their state again.",
            "short",
            [Query(or_none(in_range("clarion_gaps_total", 'outcome="lost"')), "lost")],
            "gaps",
            kind="stat",
            thresholds=Thresholds(1, 1),
            width=4,
            height=4,
        ),
        Panel(
            "Ready gateways",
            "Pods that have received their own probe in time, have keys and do not drain.",
            "short",
            [Query(_READY, "ready")],
            "a-pod-does-not-become-ready",
            kind="stat",
            thresholds=Thresholds(warning=2, critical=1, falling=True),
            width=4,
            height=4,
        ),
    ],
    collapsed=False,
)
