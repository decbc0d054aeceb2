"""The query that most panels of this dashboard have."""

from __future__ import annotations

from deploy.grafana.panel import Query
from deploy.grafana.query import gauge


def each_pod(metric: str) -> list[Query]:
    """A line for each pod."""
    return [Query(f"max by (pod) ({gauge(metric)})", "{{pod}}")]
