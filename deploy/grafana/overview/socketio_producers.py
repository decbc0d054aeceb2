"""The row of "Clarion overview" about producers of Socket.IO."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import PUBLISHERS, gauge, increase, rate

_RUNBOOK: Final = "producers-of-socketio"

SOCKETIO_PRODUCERS: Final = Row(
    "Producers of Socket.IO",
    [
        Panel(
            "Stream lag",
            "Age of the oldest entry of the producers' stream that waits.",
            "s",
            [
                Query(
                    f"max ({gauge('clarion_publisher_socketio_lag_seconds', pods=PUBLISHERS)})",
                    "lag",
                )
            ],
            _RUNBOOK,
            thresholds=Thresholds(5, 60),
        ),
        Panel(
            "Messages read",
            "Messages of the stream, of emitters on channels, and of python-socketio.",
            "ops",
            [
                Query(
                    rate(
                        "clarion_publisher_socketio_messages_total", by="producer", pods=PUBLISHERS
                    ),
                    "{{producer}}",
                )
            ],
            _RUNBOOK,
        ),
        Panel(
            "Messages refused",
            "Messages that can never be published. The log has one each second, with its reason.",
            "short",
            [
                Query(
                    increase(
                        "clarion_publisher_socketio_refused_total",
                        by="producer, reason",
                        pods=PUBLISHERS,
                    ),
                    "{{producer}}: {{reason}}",
                )
            ],
            _RUNBOOK,
        ),
        Panel(
            "Messages lost",
            "Entries that were trimmed before a publisher read them, and messages that a publisher "
            "had heard when it ended.",
            "short",
            [
                Query(
                    increase(
                        "clarion_publisher_socketio_lost_total", by="producer", pods=PUBLISHERS
                    ),
                    "{{producer}}",
                )
            ],
            _RUNBOOK,
        ),
        Panel(
            "Reads the producers' Redis",
            "Whether any publisher does. One of them reads for all.",
            "bool_yes_no",
            [
                Query(
                    f"max ({gauge('clarion_publisher_socketio_reading', pods=PUBLISHERS)})",
                    "read",
                )
            ],
            _RUNBOOK,
            kind="state-timeline",
        ),
        Panel(
            "Errors of the producers' Redis",
            "Times it could not be reached or used.",
            "ops",
            [
                Query(
                    rate("clarion_publisher_socketio_errors_total", by="pod", pods=PUBLISHERS),
                    "{{pod}}",
                )
            ],
            _RUNBOOK,
        ),
    ],
)
