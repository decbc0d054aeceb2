"""The dashboard "Clarion gateway pods": the work of each pod, and how close it is to its limits."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panel import Dashboard, Panel, Query, Row, Thresholds
from deploy.grafana.query import (
    DRAINING,
    VERIFIED_SECONDS,
    gauge,
    increase,
    mean,
    quantile,
    rate,
)

_POD: Final = "{{pod}}"


def _each_pod(metric: str) -> list[Query]:
    return [Query(f"max by (pod) ({gauge(metric)})", _POD)]


_CAPACITY: Final = Row(
    "Capacity",
    [
        Panel(
            "Gateway pods",
            "Gateway pods that Prometheus scrapes, ready or not. The HPA adds and removes them.",
            "short",
            [Query(f"count ({gauge('clarion_connections_max')})", "pods")],
            "a-pod-is-at-capacity",
            kind="stat",
            width=4,
        ),
        Panel(
            "Free places",
            "How many more connections all pods together could take.",
            "short",
            [
                Query(
                    f"sum ({gauge('clarion_connections_max')})"
                    f" - sum ({gauge('clarion_connections')})",
                    "free",
                )
            ],
            "a-pod-is-at-capacity",
            kind="stat",
            width=4,
        ),
        Panel(
            "Connections",
            "Live connections of each pod. If the lines are far apart, clients have not spread "
            "since the last scale-up.",
            "short",
            [
                Query(f"sum by (pod) ({gauge('clarion_connections')})", _POD),
                Query(f"max by (pod) ({gauge('clarion_sockets')})", "{{pod}} sockets"),
            ],
            "clients-do-not-spread",
        ),
        Panel(
            "Connections as a share of the maximum",
            "Share of GATEWAY_MAX_CONNECTIONS. At 1 the pod turns clients away with 503.",
            "percentunit",
            [
                Query(
                    f"sum by (pod) ({gauge('clarion_connections')})"
                    f" / max by (pod) ({gauge('clarion_connections_max')})",
                    _POD,
                )
            ],
            "a-pod-is-at-capacity",
            thresholds=Thresholds(0.7, 0.85),
            maximum=1,
        ),
        Panel(
            "Users",
            "Users with a connection to the pod. The pod subscribes to their channels. Do not add "
            "up the pods, since a user may be on several.",
            "short",
            _each_pod("clarion_users"),
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Handshakes",
            "Connections that each pod accepted per second.",
            "ops",
            [Query(rate("clarion_handshakes_total", 'outcome="accepted"', by="pod"), _POD)],
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Writes of the deletion cost",
            "Reports to Kubernetes of how many connections a pod holds. After `failed`, scaling "
            "down may remove any pod. 0 if GATEWAY_POD_DELETION_COST is off.",
            "short",
            [
                Query(
                    increase("clarion_pod_deletion_cost_patches_total", by="pod, outcome"),
                    "{{pod}} {{outcome}}",
                )
            ],
            "scaling-down-takes-full-pods",
            width=6,
        ),
        Panel(
            "Draining",
            "1 from SIGTERM on: the pod sends its clients elsewhere.",
            "bool_yes_no",
            _each_pod("clarion_draining"),
            "rolling-out",
            maximum=1,
            width=6,
        ),
    ],
)

_FANOUT: Final = Row(
    "Fan-out",
    [
        Panel(
            "Deliveries",
            "Events written to connections per second.",
            "ops",
            [Query(rate("clarion_deliveries_total", by="pod"), _POD)],
            "events-come-late",
        ),
        Panel(
            "Bytes",
            "Bytes of these events per second.",
            "Bps",
            [Query(rate("clarion_delivered_bytes_total", by="pod"), _POD)],
            "events-come-late",
        ),
        Panel(
            "Publish to write, p99",
            "Per pod. If one pod is above the others, it lacks CPU, or a handler blocks it.",
            "s",
            [Query(quantile(0.99, "clarion_publish_to_write_seconds", by="pod"), _POD)],
            "events-come-late",
            thresholds=Thresholds(0.25, 1),
        ),
        Panel(
            "Rounds",
            "Delivery rounds per second. At low load a round holds one event; at high load rounds "
            "grow and their number does not.",
            "ops",
            [Query(rate("clarion_fanout_duration_seconds_count", by="pod"), _POD)],
            "events-come-late",
        ),
        Panel(
            "Events per round",
            "The mean. It grows when the pod is busy, because writes are then fewer and larger.",
            "short",
            [Query(mean("clarion_fanout_events", by="pod"), _POD)],
            "events-come-late",
        ),
        Panel(
            "Recipients per round",
            "The mean number of connections written to.",
            "short",
            [Query(mean("clarion_fanout_recipients", by="pod"), _POD)],
            "events-come-late",
        ),
        Panel(
            "Time of a round, p99",
            "From its start to its last write.",
            "s",
            [Query(quantile(0.99, "clarion_fanout_duration_seconds", by="pod"), _POD)],
            "events-come-late",
            thresholds=Thresholds(0.25, 1),
        ),
        Panel(
            "Share of time in rounds",
            "Share of each second that the pod spends delivering. Near 1 it can deliver no more.",
            "percentunit",
            [Query(rate("clarion_fanout_duration_seconds_sum", by="pod"), _POD)],
            "events-come-late",
            thresholds=Thresholds(0.5, 0.8),
            maximum=1,
        ),
        Panel(
            "Events that wait for a round",
            "Events read from Redis and not delivered yet. At GATEWAY_PENDING_MAX_EVENTS the pod "
            "pauses reading.",
            "short",
            _each_pod("clarion_pending_events"),
            "events-come-late",
            thresholds=Thresholds(1_000, 10_000),
        ),
    ],
)

_PRESSURE: Final = Row(
    "Slow clients",
    [
        Panel(
            "Unsent bytes",
            "Bytes that wait in the pod's memory for slow clients, over all connections; and the "
            "memory of what was read from Redis for clients that resume.",
            "bytes",
            [
                *_each_pod("clarion_unsent_bytes"),
                Query(f"sum by (pod) ({gauge('clarion_replay_bytes')})", "{{pod}} replays"),
                Query(f"sum by (pod) ({gauge('clarion_outbound_bytes')})", "{{pod}} outbound"),
                Query(f"sum by (pod) ({gauge('clarion_inbound_bytes')})", "{{pod}} inbound"),
            ],
            "slow-consumers",
        ),
        Panel(
            "Unsent bytes per connection",
            "The mean. At GATEWAY_MAX_UNSENT_BYTES a connection is closed.",
            "bytes",
            [
                Query(
                    f"sum by (pod) ({gauge('clarion_unsent_bytes')})"
                    f" / sum by (pod) ({gauge('clarion_connections')})",
                    _POD,
                )
            ],
            "slow-consumers",
        ),
        Panel(
            "Slow consumers",
            "Connections closed with 4408 per second.",
            "ops",
            [Query(rate("clarion_slow_consumers_total", by="pod"), _POD)],
            "slow-consumers",
        ),
    ],
)

_HEALTH: Final = Row(
    "Health",
    [
        Panel(
            "Loop lag",
            "How late the event loop last woke a timer. Above 0.1 s, a handler blocks the loop, or "
            "the pod has no CPU.",
            "s",
            _each_pod("clarion_loop_lag_seconds"),
            "events-come-late",
            thresholds=Thresholds(0.05, 0.1),
        ),
        Panel(
            "Seconds since the bus was verified",
            "Age of the last probe that came back over the whole bus. Above "
            f"{VERIFIED_SECONDS} s, a pod is not ready.",
            "s",
            _each_pod("clarion_bus_verified_age_seconds"),
            "the-bus-is-not-verified",
            thresholds=Thresholds(VERIFIED_SECONDS, 30),
        ),
        Panel(
            "Connections to the bus",
            "Attempts to connect the subscription. More than one per pod means that the connection "
            "was lost.",
            "short",
            [
                Query(
                    increase("clarion_bus_connects_total", by="pod, outcome"), "{{pod}} {{outcome}}"
                )
            ],
            "the-bus-is-not-verified",
        ),
        Panel(
            "Gaps in streams",
            "`repaired`: filled from the log, unseen by clients. `lost`: clients were told.",
            "short",
            [Query(increase("clarion_gaps_total", by="pod, outcome"), "{{pod}} {{outcome}}")],
            "gaps",
        ),
        Panel(
            "Revocations",
            "Revocations in force on each pod. Pods that differ for longer than a moment do not "
            "hear the same orders.",
            "short",
            _each_pod("clarion_revocations"),
            "tokens-are-refused",
        ),
        Panel(
            "Users whose presence is not written",
            "Users whose connections have changed since the last report to Redis. The number goes "
            "back to 0 in a moment, unless Redis takes no writes.",
            "short",
            _each_pod("clarion_presence_pending"),
            "presence-is-behind",
        ),
        Panel(
            "Writes of presence",
            "Reports of each pod to Redis about who is connected, up to 500 users at once.",
            "ops",
            [
                Query(
                    rate("clarion_presence_writes_total", by="pod, outcome"), "{{pod}} {{outcome}}"
                )
            ],
            "presence-is-behind",
            width=6,
        ),
        Panel(
            "Messages on the bus that are no events",
            "Another program writes to Clarion's channels, or a handler publishes a bad type.",
            "ops",
            [Query(rate("clarion_bus_messages_invalid_total", by="pod"), _POD)],
            "the-bus-is-not-verified",
            width=6,
        ),
        Panel(
            "Events received by audience",
            "Events that each pod received and delivered, whether or not anybody was connected. "
            "`all` and `authenticated` are the same on all pods.",
            "ops",
            [
                Query(
                    rate("clarion_events_received_total", by="pod, audience"),
                    "{{pod}} {{audience}}",
                )
            ],
            "the-bus-is-not-verified",
            width=6,
        ),
        Panel(
            "Failures of background jobs",
            "Each is a bug. The job is restarted, and its traceback is in the log.",
            "short",
            [Query(increase("clarion_job_failures_total", by="pod, task"), "{{pod}} {{task}}")],
            "a-background-job-fails",
            width=6,
        ),
    ],
)

_RETURNS: Final = Row(
    "Clients that come back",
    [
        Panel(
            "Resumes",
            "Clients that named a position. `not_resumed`: the history did not reach back far "
            "enough, or the client missed too much. `busy`: too many replays at once.",
            "ops",
            [Query(rate("clarion_resumes_total", by="pod, outcome"), "{{pod}} {{outcome}}")],
            "clients-start-anew-instead-of-resuming",
            width=6,
        ),
        Panel(
            "Where resumes read",
            "`ring`: from the pod's memory. `redis`: the memory did not reach back far enough. "
            "Many of these load Redis.",
            "ops",
            [Query(rate("clarion_resume_sources_total", by="pod, source"), "{{pod}} {{source}}")],
            "clients-start-anew-instead-of-resuming",
            width=6,
        ),
        Panel(
            "Closes by reason",
            "Why each pod's connections ended.",
            "ops",
            [Query(rate("clarion_closes_total", by="pod, reason"), "{{pod}} {{reason}}")],
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Clients sent elsewhere",
            "Per second, by rebalancing: the pod holds far more than the mean. 0 if "
            "GATEWAY_REBALANCE is off.",
            "ops",
            [Query(rate("clarion_rebalanced_total", by="pod"), _POD)],
            "clients-do-not-spread",
            width=6,
        ),
    ],
)

GATEWAY_PODS: Final = Dashboard(
    uid="clarion-gateway-pods",
    title="Clarion gateway pods",
    description="The work of each gateway pod, and how close it is to its limits. For the "
    "containers' CPU and memory, see the cluster's own dashboards.",
    rows=[_CAPACITY, _FANOUT, _PRESSURE, _HEALTH, _RETURNS],
    drains=DRAINING,
)
