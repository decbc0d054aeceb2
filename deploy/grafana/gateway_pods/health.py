"""The row of "Clarion gateway pods" about event loop, Redis and background jobs."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.gateway_pods.each_pod import each_pod
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import PUBLISHERS, VERIFIED_SECONDS, gauge, increase, rate

HEALTH: Final = Row(
    "Health",
    [
        Panel(
            "Event loop lag",
            "How late the event loop last woke a timer. Above 0.1 s, a handler blocks the loop, or "
            "the pod has no CPU.",
            "s",
            each_pod("clarion_loop_lag_seconds"),
            "events-come-late",
            thresholds=Thresholds(0.05, 0.1),
        ),
        Panel(
            "Time since Redis was last verified",
            "Age of the last probe that came back over the whole bus. Above "
            f"{VERIFIED_SECONDS} s, /readyz warns.",
            "s",
            each_pod("clarion_bus_verified_age_seconds"),
            "the-bus-is-not-verified",
            thresholds=Thresholds(VERIFIED_SECONDS, 30),
        ),
        Panel(
            "Redis subscription connects",
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
            "Gaps in Redis streams",
            "`repaired`: filled from the log, unseen by clients. `lost`: clients were told.",
            "short",
            [Query(increase("clarion_gaps_total", by="pod, outcome"), "{{pod}} {{outcome}}")],
            "gaps",
            width=6,
        ),
        Panel(
            "Revocations in force",
            "Revocations in force on each pod. Pods that differ for longer than a moment do not "
            "hear the same orders.",
            "short",
            each_pod("clarion_revocations"),
            "tokens-are-refused",
            width=6,
        ),
        Panel(
            "Presence updates waiting",
            "Users whose connections have changed since the last report to Redis. The number goes "
            "back to 0 in a moment, unless Redis takes no writes.",
            "short",
            each_pod("clarion_presence_pending"),
            "presence-is-behind",
            width=6,
        ),
        Panel(
            "Disconnects waiting for the application",
            "Ended connections whose `on_disconnect` waits or runs. If the number grows, the "
            "application cannot keep up, and the pod takes fewer clients.",
            "short",
            each_pod("clarion_disconnects_pending"),
            "handlers-fail",
            width=6,
        ),
        Panel(
            "Presence writes",
            "Reports of each pod to Redis about who is connected, up to 500 users at once.",
            "ops",
            [
                Query(
                    rate("clarion_presence_writes_total", by="pod, outcome"), "{{pod}} {{outcome}}"
                )
            ],
            "presence-is-behind",
            width=8,
        ),
        Panel(
            "Invalid messages from Redis",
            "Another program writes to Clarion's channels, or a handler publishes a bad type.",
            "ops",
            [Query(rate("clarion_bus_messages_invalid_total", by="pod"), "{{pod}}")],
            "the-bus-is-not-verified",
            width=8,
        ),
        Panel(
            "Received events by audience",
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
            width=8,
        ),
        Panel(
            "Background job failures",
            "Each is a bug. The job is restarted, and its traceback is in the log.",
            "short",
            [Query(increase("clarion_job_failures_total", by="pod, task"), "{{pod}} {{task}}")],
            "a-background-job-fails",
            width=12,
        ),
        Panel(
            "Other gateways of the same name",
            "Live gateways that share the pod's name. More than 0 is a mistake in the settings.",
            "short",
            each_pod("clarion_pods_of_same_name"),
            "two-gateways-of-one-name",
            width=12,
        ),
        Panel(
            "Why Redis refuses",
            "1 while Redis refuses gateways or publishers for a reason that does not pass by "
            "waiting.",
            "short",
            [
                Query(f"max by (fault) ({gauge('clarion_bus_fault')}) > 0", "gateways: {{fault}}"),
                Query(
                    f"max by (fault) ({gauge('clarion_publisher_bus_fault', pods=PUBLISHERS)}) > 0",
                    "publishers: {{fault}}",
                ),
            ],
            "redis-refuses",
            width=24,
        ),
    ],
)
