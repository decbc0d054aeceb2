"""The row of "Clarion gateway pods" about how full each pod is."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.gateway_pods.each_pod import each_pod
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import gauge, increase, rate

CAPACITY: Final = Row(
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
            "Free capacity",
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
                Query(f"sum by (pod) ({gauge('clarion_connections')})", "{{pod}}"),
                Query(f"max by (pod) ({gauge('clarion_sockets')})", "{{pod}} sockets"),
            ],
            "clients-do-not-spread",
        ),
        Panel(
            "Capacity in use",
            "Share of GATEWAY_MAX_CONNECTIONS. At 1 the pod turns clients away with 503.",
            "percentunit",
            [
                Query(
                    f"sum by (pod) ({gauge('clarion_connections')})"
                    f" / max by (pod) ({gauge('clarion_connections_max')})",
                    "{{pod}}",
                )
            ],
            "a-pod-is-at-capacity",
            thresholds=Thresholds(0.7, 0.85),
            maximum=1,
        ),
        Panel(
            "Connected users",
            "Users with a connection to the pod. The pod subscribes to their channels. Do not add "
            "up the pods, since a user may be on several.",
            "short",
            each_pod("clarion_users"),
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Accepted connections",
            "Connections that each pod accepted per second.",
            "ops",
            [Query(rate("clarion_handshakes_total", 'outcome="accepted"', by="pod"), "{{pod}}")],
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Pod deletion cost updates",
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
            width=4,
        ),
        Panel(
            "Ready",
            "A probe came back over Redis in time, the keys are there and the pod does not drain.",
            "bool_yes_no",
            each_pod("clarion_ready"),
            "a-pod-does-not-become-ready",
            kind="state-timeline",
            width=4,
        ),
        Panel(
            "Draining",
            "From SIGTERM on: the pod sends its clients elsewhere.",
            "bool_yes_no",
            each_pod("clarion_draining"),
            "rolling-out",
            kind="state-timeline",
            good=False,
            width=4,
        ),
    ],
    collapsed=False,
)
