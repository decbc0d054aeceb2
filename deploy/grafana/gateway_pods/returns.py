"""The row of "Clarion gateway pods" about clients that come back."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.panel import Panel, Query
from deploy.grafana.query import rate

RETURNS: Final = Row(
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
            "Resumes by source",
            "`ring`: from the pod's memory. `redis`: the memory did not reach back far enough. "
            "Many of these load Redis.",
            "ops",
            [Query(rate("clarion_resume_sources_total", by="pod, source"), "{{pod}} {{source}}")],
            "clients-start-anew-instead-of-resuming",
            width=6,
        ),
        Panel(
            "Disconnects by reason",
            "Why each pod's connections ended.",
            "ops",
            [Query(rate("clarion_closes_total", by="pod, reason"), "{{pod}} {{reason}}")],
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Clients moved by rebalancing",
            "Per second, by rebalancing: the pod holds far more than the mean. 0 if "
            "GATEWAY_REBALANCE is off.",
            "ops",
            [Query(rate("clarion_rebalanced_total", by="pod"), "{{pod}}")],
            "clients-do-not-spread",
            width=6,
        ),
    ],
)
