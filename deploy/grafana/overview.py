"""The dashboard "Clarion overview": what users and producers notice, over all pods."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panel import Dashboard, Panel, Query, Row, Thresholds
from deploy.grafana.query import (
    DRAINING,
    PUBLISHERS,
    gauge,
    increase,
    mean,
    or_none,
    quantile,
    rate,
)

_SLOW: Final = Thresholds(0.25, 1)
_FAULTS: Final = 'outcome!~"internal|bus_unavailable|overloaded|keys_unavailable"'

_LOST: Final = gauge("clarion_gaps_total", 'outcome="lost"')

_READY: Final = f"sum (max by (namespace, pod) ({gauge('clarion_ready')}))"

_GLANCE: Final = Row(
    "At a glance",
    [
        Panel(
            "Connected",
            "Live connections over all gateway pods. One user may have several.",
            "short",
            [Query(f"sum ({gauge('clarion_connections')})", "connections")],
            "a-pod-is-at-capacity",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Publish to write, p99",
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
            "Deliveries",
            "Events written to connections per second: events times recipients.",
            "ops",
            [Query(rate("clarion_deliveries_total"), "deliveries")],
            "events-come-late",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Publishing that fails",
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
            "Streams that lost events",
            "Gaps since each pod's start that no log could fill, because Redis itself lost data. "
            "Clients were told to fetch their state again.",
            "short",
            [Query(or_none(f"sum ({_LOST})"), "lost")],
            "gaps",
            kind="stat",
            thresholds=Thresholds(1, 1),
            width=4,
            height=4,
        ),
        Panel(
            "Ready gateway pods",
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
)

_DELIVERY: Final = Row(
    "What users feel",
    [
        Panel(
            "Connections by identity and wire",
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
            "Publish to write",
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
            "Publish to write, all events",
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
            "Events published by audience",
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
            "Slow consumers",
            "Connections closed with 4408 because the clients did not read fast enough. They "
            "return and resume.",
            "ops",
            [Query(rate("clarion_slow_consumers_total"), "closed")],
            "slow-consumers",
        ),
    ],
)

_CLIENTS: Final = Row(
    "Clients",
    [
        Panel(
            "Handshakes by outcome",
            "Connections asked for. `at_capacity`, `unavailable` and `internal_error` are faults "
            "of the servers, the others of the clients.",
            "ops",
            [Query(rate("clarion_handshakes_total", by="outcome"), "{{outcome}}")],
            "a-pod-is-at-capacity",
        ),
        Panel(
            "Time to welcome",
            "From the request to `welcome` or the refusal. For clients that resume, until they "
            "have caught up.",
            "s",
            [
                Query(quantile(0.5, "clarion_handshake_duration_seconds"), "p50"),
                Query(quantile(0.99, "clarion_handshake_duration_seconds"), "p99"),
            ],
            "a-pod-is-at-capacity",
            thresholds=Thresholds(1, 5),
        ),
        Panel(
            "Closes by code",
            "Why connections ended; docs/errors.md has a row for each code.",
            "ops",
            [Query(rate("clarion_closes_total", by="code, reason"), "{{code}} {{reason}}")],
            "a-pod-is-at-capacity",
        ),
        Panel(
            "Resumes by outcome",
            "Clients that named a position. `not_resumed`: the history did not reach back far "
            "enough, or the client missed too much. `busy`: too many replays at once.",
            "ops",
            [Query(rate("clarion_resumes_total", by="outcome"), "{{outcome}}")],
            "clients-start-anew-instead-of-resuming",
        ),
        Panel(
            "Messages from clients by outcome",
            "`internal`, `timeout` and `unavailable` are faults of the application or of Redis, "
            "the others of the clients.",
            "ops",
            [Query(rate("clarion_messages_received_total", by="outcome"), "{{outcome}}")],
            "handlers-fail",
        ),
        Panel(
            "Time in handlers",
            "Time in the application's own code, including interceptors and publishing.",
            "s",
            [
                Query(quantile(0.5, "clarion_handler_duration_seconds"), "p50"),
                Query(quantile(0.99, "clarion_handler_duration_seconds"), "p99"),
            ],
            "handlers-fail",
            thresholds=Thresholds(1, 10),
        ),
        Panel(
            "Refused tokens by reason",
            "Tokens that identified nobody, at the gateways and at the publishers.",
            "ops",
            [
                Query(rate("clarion_tokens_refused_total", by="reason"), "gateway: {{reason}}"),
                Query(
                    rate("clarion_publisher_tokens_refused_total", by="reason", pods=PUBLISHERS),
                    "publisher: {{reason}}",
                ),
            ],
            "tokens-are-refused",
            width=6,
        ),
        Panel(
            "Refused requests by reason",
            "Requests that never became connections.",
            "ops",
            [Query(rate("clarion_http_requests_refused_total", by="reason"), "{{reason}}")],
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Orders",
            "Requests to publishers to revoke tokens or disconnect users, and how often gateways "
            "carried out an order: each pod counts once.",
            "ops",
            [
                Query(
                    rate(
                        "clarion_publisher_operations_total",
                        by="operation, outcome",
                        pods=PUBLISHERS,
                    ),
                    "asked: {{operation}} {{outcome}}",
                ),
                Query(rate("clarion_orders_total", by="order"), "carried out: {{order}}"),
            ],
            "tokens-are-refused",
            width=6,
        ),
        Panel(
            "Log-ins on open connections",
            "Changes of identity on open connections: logged in, refreshed, logged out.",
            "ops",
            [Query(rate("clarion_identity_changes_total", by="change"), "{{change}}")],
            "tokens-are-refused",
            width=6,
        ),
    ],
)

_PUBLISHING: Final = Row(
    "Publishing",
    [
        Panel(
            "Publish requests by outcome",
            "`bus_unavailable`, `overloaded`, `keys_unavailable` and `internal` are faults of the "
            "servers.",
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
            "Publish time, p99",
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
            "Round trip to Redis",
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
            "Events per round trip",
            "Mean number of events sent to Redis together. It grows with load.",
            "short",
            [Query(mean("clarion_publisher_pipeline_events", pods=PUBLISHERS), "events")],
            "503-on-publish",
            width=4,
        ),
        Panel(
            "Events that wait for Redis",
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
            "Bodies in memory",
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
            "Ready publisher pods",
            "1 if Redis answers, the keys are there and the pod does not drain.",
            "bool_yes_no",
            [
                Query(
                    f"max by (pod) ({gauge('clarion_publisher_ready', pods=PUBLISHERS)})",
                    "{{pod}}",
                )
            ],
            "a-pod-does-not-become-ready",
            maximum=1,
            width=4,
        ),
        Panel(
            "Failed round trips",
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
            "Failures of background jobs",
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
            "Sockets of publishers",
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
            "Requests that publishers refuse early",
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

OVERVIEW: Final = Dashboard(
    uid="clarion-overview",
    title="Clarion overview",
    description="What users and producers notice. For single pods, see Clarion gateway pods.",
    rows=[_GLANCE, _DELIVERY, _CLIENTS, _PUBLISHING],
    drains=DRAINING,
)
