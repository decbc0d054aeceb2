"""The dashboard "Clarion overview": what users and producers notice, over all pods."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Dashboard
from deploy.grafana.overview.application import APPLICATION
from deploy.grafana.overview.clients import CLIENTS
from deploy.grafana.overview.delivery import DELIVERY
from deploy.grafana.overview.glance import GLANCE
from deploy.grafana.overview.outbox import OUTBOX
from deploy.grafana.overview.publishing import PUBLISHING
from deploy.grafana.overview.socketio_producers import SOCKETIO_PRODUCERS
from deploy.grafana.process import processes
from deploy.grafana.query import DRAINING, PUBLISHERS, of_publishers

OVERVIEW: Final = Dashboard(
    uid="clarion-overview",
    title="Clarion overview",
    description="What users and producers notice. For single pods, see Clarion gateway pods.",
    rows=[
        GLANCE,
        DELIVERY,
        CLIENTS,
        PUBLISHING,
        OUTBOX,
        SOCKETIO_PRODUCERS,
        APPLICATION,
        processes("Publisher processes", PUBLISHERS, of_publishers, "clarion_publisher_sockets"),
    ],
    drains=DRAINING,
)
