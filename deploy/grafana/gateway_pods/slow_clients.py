"""The row of "Clarion gateway pods" about what waits for slow clients."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.gateway_pods.each_pod import each_pod
from deploy.grafana.panel import Panel, Query
from deploy.grafana.query import gauge, rate

SLOW_CLIENTS: Final = Row(
    "Slow clients",
    [
        Panel(
            "Bytes buffered for slow clients",
            "Bytes that wait in the pod's memory for slow clients, over all connections; and the "
            "memory of what was read from Redis for clients that resume.",
            "bytes",
            [
                *each_pod("clarion_unsent_bytes"),
                Query(f"sum by (pod) ({gauge('clarion_replay_bytes')})", "{{pod}} replays"),
                Query(f"sum by (pod) ({gauge('clarion_outbound_bytes')})", "{{pod}} outbound"),
                Query(f"sum by (pod) ({gauge('clarion_inbound_bytes')})", "{{pod}} inbound"),
            ],
            "slow-consumers",
        ),
        Panel(
            "Buffered bytes per connection",
            "The mean. At GATEWAY_MAX_UNSENT_BYTES a connection is closed.",
            "bytes",
            [
                Query(
                    f"sum by (pod) ({gauge('clarion_unsent_bytes')})"
                    f" / sum by (pod) ({gauge('clarion_connections')})",
                    "{{pod}}",
                )
            ],
            "slow-consumers",
        ),
        Panel(
            "Slow clients disconnected",
            "Connections closed with 4408 per second.",
            "ops",
            [Query(rate("clarion_slow_consumers_total", by="pod"), "{{pod}}")],
            "slow-consumers",
        ),
    ],
)
