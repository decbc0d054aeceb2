"""The row of "Clarion overview" about requests of producers and the way to Redis."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import PUBLISHERS, gauge, increase, mean, quantile, rate

_SLOW: Final = Thresholds(0.25, 1)

PUBLISHING: Final = Row(
    "Publishing",
    [
        Panel(
            "Publish requests by outcome",
            "`bus_refused`, `bus_unavailable`, `overloaded`, `keys_unavailable` and `internal` are "
            "faults of the servers.",
            "reqps",
            [
                Query(
                    rate("clarion_publish_requests_total", by="outcome", pods=PUBLISHERS),
                    "{{outcome}}",
                )
            ],
            "503-on-publish",
        ),
        Panel(
            "Publish request duration, p99",
            "From a request's head to its answer.",
            "s",
            [
                Query(
                    quantile(
                        0.99, "clarion_publish_duration_seconds", by="audience", pods=PUBLISHERS
                    ),
                    "{{audience}}",
                )
            ],
            "503-on-publish",
            thresholds=_SLOW,
        ),
        Panel(
            "Redis round-trip time",
            "One pipeline of events: publish.lua for each event, and the network.",
            "s",
            [
                Query(
                    quantile(share, "clarion_publisher_pipeline_duration_seconds", pods=PUBLISHERS),
                    legend,
                )
                for share, legend in ((0.5, "p50"), (0.99, "p99"))
            ],
            "503-on-publish",
            thresholds=Thresholds(0.05, 0.25),
        ),
        Panel(
            "Events per Redis round trip",
            "Mean number of events sent to Redis together. It grows with load.",
            "short",
            [Query(mean("clarion_publisher_pipeline_events", pods=PUBLISHERS), "events")],
            "503-on-publish",
            width=4,
        ),
        Panel(
            "Events waiting for Redis",
            "Per publisher pod. At PUBLISHER_MAX_PENDING, producers get 503.",
            "short",
            [
                Query(
                    f"max by (pod) ({gauge('clarion_publisher_pending', pods=PUBLISHERS)})",
                    "{{pod}}",
                )
            ],
            "503-on-publish",
            thresholds=Thresholds(1_000, 10_000),
            width=4,
        ),
        Panel(
            "Request bodies in memory",
            "Bytes of current requests, per publisher pod. At PUBLISHER_BODIES_MAX_BYTES, "
            "producers get 503.",
            "bytes",
            [
                Query(
                    f"max by (pod) ({gauge('clarion_publisher_body_bytes', pods=PUBLISHERS)})",
                    "{{pod}}",
                )
            ],
            "503-on-publish",
            width=4,
        ),
        Panel(
            "Publisher ready",
            "Redis answers, the keys are there and the pod does not drain.",
            "bool_yes_no",
            [
                Query(
                    f"max by (pod) ({gauge('clarion_publisher_ready', pods=PUBLISHERS)})",
                    "{{pod}}",
                )
            ],
            "a-pod-does-not-become-ready",
            kind="state-timeline",
            width=4,
        ),
        Panel(
            "Redis errors",
            "Round trips to Redis that ended in an error.",
            "ops",
            [
                Query(
                    rate("clarion_publisher_bus_errors_total", by="pod", pods=PUBLISHERS),
                    "{{pod}}",
                )
            ],
            "503-on-publish",
            width=4,
        ),
        Panel(
            "Background job failures",
            "Each is a bug. The job is restarted, and its traceback is in the log.",
            "short",
            [
                Query(
                    increase(
                        "clarion_publisher_job_failures_total", by="pod, task", pods=PUBLISHERS
                    ),
                    "{{pod}} {{task}}",
                )
            ],
            "a-background-job-fails",
            width=4,
        ),
        Panel(
            "Open sockets",
            "TCP connections open on the public port, idle ones included. At "
            "PUBLISHER_MAX_SOCKETS, more get 503.",
            "short",
            [
                Query(
                    f"max by (pod) ({gauge('clarion_publisher_sockets', pods=PUBLISHERS)})",
                    "{{pod}}",
                )
            ],
            "503-on-publish",
            width=12,
        ),
        Panel(
            "Rejected publisher requests by reason",
            "Requests and sockets refused before a handler was asked, by reason.",
            "ops",
            [
                Query(
                    rate(
                        "clarion_publisher_http_requests_refused_total",
                        by="reason",
                        pods=PUBLISHERS,
                    ),
                    "{{reason}}",
                )
            ],
            "503-on-publish",
            width=12,
        ),
    ],
)
