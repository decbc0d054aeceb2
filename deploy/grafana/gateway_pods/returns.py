"""The row of "Clarion gateway pods" about clients that come back, and topics."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.gateway_pods.each_pod import each_pod
from deploy.grafana.panel import Panel, Query
from deploy.grafana.query import rate

RETURNS: Final = Row(
    "Clients that come back, and topics",
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
        Panel(
            "Topics",
            "Topics that connections to the pod receive. The pod subscribes to their channels. Do "
            "not add up the pods, since a topic may be on several.",
            "short",
            each_pod("clarion_topics"),
            "a-pod-is-at-capacity",
            width=8,
        ),
        Panel(
            "Topics subscribed",
            "Per second: topics that clients began to receive or gave up on open connections.",
            "ops",
            [Query(rate("clarion_topic_changes_total", by="pod, change"), "{{pod}} {{change}}")],
            "a-pod-is-at-capacity",
            width=8,
        ),
        Panel(
            "Members told",
            "Per second: messages about the members of topics, over all connections.",
            "ops",
            [Query(rate("clarion_topic_presence_deliveries_total", by="pod"), "{{pod}}")],
            "a-pod-is-at-capacity",
            width=8,
        ),
        Panel(
            "Topics not resumed",
            "Per second: topics of clients that came back, whose history did not reach back far "
            "enough. The client is told which ones.",
            "ops",
            [Query(rate("clarion_topics_not_resumed_total", by="pod"), "{{pod}}")],
            "clients-start-anew-instead-of-resuming",
            width=12,
        ),
        Panel(
            "Topics refused",
            "Per second: topics that clients asked for and do not get. `forbidden`: their tokens "
            "do not grant them. `rate_limited`: they subscribe too fast.",
            "ops",
            [Query(rate("clarion_topics_refused_total", by="pod, reason"), "{{pod}} {{reason}}")],
            "tokens-are-refused",
            width=12,
        ),
    ],
)
