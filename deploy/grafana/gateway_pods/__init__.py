"""The dashboard "Clarion gateway pods": the work of each pod, and how close it is to its limits."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Dashboard
from deploy.grafana.gateway_pods.capacity import CAPACITY
from deploy.grafana.gateway_pods.fanout import FANOUT
from deploy.grafana.gateway_pods.health import HEALTH
from deploy.grafana.gateway_pods.other_ways import OTHER_WAYS
from deploy.grafana.gateway_pods.returns import RETURNS
from deploy.grafana.gateway_pods.slow_clients import SLOW_CLIENTS
from deploy.grafana.process import processes
from deploy.grafana.query import DRAINING, GATEWAYS, of_gateways

GATEWAY_PODS: Final = Dashboard(
    uid="clarion-gateway-pods",
    title="Clarion gateway pods",
    description="The work of each gateway pod, and how close it is to its limits.",
    rows=[
        CAPACITY,
        FANOUT,
        SLOW_CLIENTS,
        HEALTH,
        RETURNS,
        OTHER_WAYS,
        processes("Gateway processes", GATEWAYS, of_gateways, "clarion_connections"),
    ],
    drains=DRAINING,
)
