"""The row of "Clarion overview" about the PostgreSQL outbox."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import PUBLISHERS, gauge, increase, mean, rate

_RUNBOOK: Final = "the-outbox-falls-behind"

OUTBOX: Final = Row(
    "PostgreSQL outbox",
    [
        Panel(
            "Outbox lag",
            "Age of the oldest committed row that waits, from its INSERT on.",
            "s",
            [
                Query(
                    f"max ({gauge('clarion_publisher_outbox_lag_seconds', pods=PUBLISHERS)})", "lag"
                )
            ],
            _RUNBOOK,
            thresholds=Thresholds(5, 60),
        ),
        Panel(
            "Outbox rows by outcome",
            "`bus_unavailable` and `bus_refused` wait and are handed in again. `duplicate` is a "
            "row that was published before a publisher or PostgreSQL ended.",
            "ops",
            [
                Query(
                    rate("clarion_publisher_outbox_rows_total", by="outcome", pods=PUBLISHERS),
                    "{{outcome}}",
                )
            ],
            _RUNBOOK,
        ),
        Panel(
            "Outbox rows set aside",
            "Rows that can never be published, by reason. Their reasons stand in the table "
            "clarion_outbox_refused.",
            "short",
            [
                Query(
                    increase(
                        "clarion_publisher_outbox_refused_total", by="reason", pods=PUBLISHERS
                    ),
                    "{{reason}}",
                )
            ],
            "rows-are-set-aside",
        ),
        Panel(
            "Outbox rows waiting",
            "Committed rows, counted up to 100,000.",
            "short",
            [
                Query(
                    f"max ({gauge('clarion_publisher_outbox_waiting_rows', pods=PUBLISHERS)})",
                    "rows",
                )
            ],
            _RUNBOOK,
            width=4,
        ),
        Panel(
            "Outbox rows per batch",
            "Mean number of rows read together. It grows with load.",
            "short",
            [Query(mean("clarion_publisher_outbox_batch_rows", pods=PUBLISHERS), "rows")],
            _RUNBOOK,
            width=4,
        ),
        Panel(
            "Outbox rows kept aside",
            "Rows in clarion_outbox_refused, until they are sent again or deleted.",
            "short",
            [
                Query(
                    f"max ({gauge('clarion_publisher_outbox_refused_rows', pods=PUBLISHERS)})",
                    "rows",
                )
            ],
            "rows-are-set-aside",
            width=4,
        ),
        Panel(
            "Outbox connected",
            "The pod is connected to PostgreSQL, and finds the outbox.",
            "bool_yes_no",
            [
                Query(
                    "max by (pod) "
                    f"({gauge('clarion_publisher_outbox_connected', pods=PUBLISHERS)})",
                    "{{pod}}",
                )
            ],
            "the-outbox-is-not-read",
            kind="state-timeline",
            width=6,
        ),
        Panel(
            "Outbox errors",
            "Times PostgreSQL could not be reached or used.",
            "ops",
            [
                Query(
                    rate("clarion_publisher_outbox_errors_total", by="pod", pods=PUBLISHERS),
                    "{{pod}}",
                )
            ],
            "the-outbox-is-not-read",
            width=6,
        ),
    ],
)
