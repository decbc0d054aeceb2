"""The row of "Clarion overview" about the upstream and the catalogue of declared events."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import PUBLISHERS, gauge, quantile, rate

_UPSTREAM: Final = "the-upstream-fails"
_CATALOGUE: Final = "a-catalogue-has-a-mistake"

APPLICATION: Final = Row(
    "Upstream and declared events",
    [
        Panel(
            "Upstream calls by outcome",
            "Messages and connections that the backend was asked about, each with its retries.",
            "ops",
            [Query(rate("clarion_upstream_calls_total", by="outcome"), "{{outcome}}")],
            _UPSTREAM,
        ),
        Panel(
            "Upstream duration",
            "Time of a call, with its wait for a slot and its retries.",
            "s",
            [
                Query(quantile(0.5, "clarion_upstream_duration_seconds"), "p50"),
                Query(quantile(0.99, "clarion_upstream_duration_seconds"), "p99"),
            ],
            _UPSTREAM,
            thresholds=Thresholds(1, 10),
        ),
        Panel(
            "Upstream retries",
            "Attempts beyond the first one of a call.",
            "ops",
            [Query(rate("clarion_upstream_retries_total"), "retries")],
            _UPSTREAM,
        ),
        Panel(
            "Upstream calls under way",
            "Calls that have a slot of their pod.",
            "short",
            [Query(f"max by (pod) ({gauge('clarion_upstream_under_way')})", "{{pod}}")],
            _UPSTREAM,
            width=4,
        ),
        Panel(
            "Upstream given up",
            "Messages fail at once, since many before them failed.",
            "bool_yes_no",
            [Query(f"max by (pod) ({gauge('clarion_upstream_circuit_open')})", "{{pod}}")],
            _UPSTREAM,
            kind="state-timeline",
            good=False,
            width=4,
        ),
        Panel(
            "Catalogue has a mistake",
            "The pod keeps the catalogue that it had before.",
            "bool_yes_no",
            [
                Query(f"max by (pod) ({gauge('clarion_catalogue_broken')})", "{{pod}}"),
                Query(
                    "max by (pod) "
                    f"({gauge('clarion_publisher_catalogue_broken', pods=PUBLISHERS)})",
                    "publisher {{pod}}",
                ),
            ],
            _CATALOGUE,
            kind="state-timeline",
            good=False,
            width=4,
        ),
        Panel(
            "Events that are not as declared",
            "`undeclared` and `deprecated` events may pass; `invalid` ones never do.",
            "ops",
            [
                Query(
                    rate("clarion_catalogue_findings_total", by="finding"), "handlers: {{finding}}"
                ),
                Query(
                    rate(
                        "clarion_publisher_catalogue_findings_total", by="finding", pods=PUBLISHERS
                    ),
                    "producers: {{finding}}",
                ),
            ],
            _CATALOGUE,
            width=6,
        ),
        Panel(
            "Declared events",
            "Types and patterns that the catalogue in force declares.",
            "short",
            [
                Query(f"max ({gauge('clarion_catalogue_declared')})", "gateways"),
                Query(
                    f"max ({gauge('clarion_publisher_catalogue_declared', pods=PUBLISHERS)})",
                    "publishers",
                ),
            ],
            _CATALOGUE,
            width=6,
        ),
        Panel(
            "Users told online or offline",
            "Per second: changes that the upstream has taken.",
            "ops",
            [Query(rate("clarion_upstream_transitions_total", by="state"), "{{state}}")],
            _UPSTREAM,
            width=12,
        ),
        Panel(
            "Users yet to be told",
            "Users that came online or went offline, and of whom the upstream does not know yet.",
            "short",
            [Query(f"sum ({gauge('clarion_upstream_transitions_waiting')})", "users")],
            _UPSTREAM,
            width=12,
        ),
    ],
)
