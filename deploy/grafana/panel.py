"""A panel, as the JSON that Grafana loads.

This module knows Grafana's spelling, but no metric.
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from deploy.grafana.colours import OUTCOMES

RUNBOOK_URL: Final = "https://clarion.example/docs/runbook.md"
"""The runbook's address; the chart replaces it by your own."""

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_GREEN, _YELLOW, _RED = "green", "yellow", "red"
Json = dict[str, Any]
Kind = Literal["timeseries", "state-timeline", "stat", "heatmap"]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression, and the name of its series."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The values from which a figure deserves a look, and from which it is bad.

    Attributes:
        falling: the other way round: low values are bad.
    """

    warning: float
    critical: float
    falling: bool = False

    def steps(self) -> list[Json]:
        """In rising order, the first without a value, as Grafana expects them."""
        if self.falling:
            colours = [_RED, _YELLOW, _GREEN]
            values = [self.critical, self.warning]
        else:
            colours = [_GREEN, _YELLOW, _RED]
            values = [self.warning, self.critical]
        return [
            {"color": colour, "value": value}
            for colour, value in zip(colours, [None, *values], strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        unit: Grafana's name of the unit: ``s``, ``bytes``, ``ops``, ``percentunit``, ``short``, …
        kind: ``state-timeline`` is for yes and no.
        good: of a state timeline, whether yes is the good state.
        runbook: the anchor of the section that says what to do.
        stacked: whether the series are stacked, because their sum means something.
        maximum: the upper end of the scale, if it has one.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    runbook: str
    kind: Kind = "timeseries"
    thresholds: Thresholds | None = None
    stacked: bool = False
    maximum: float | None = None
    good: bool = True
    width: int = 8
    height: int = 8

    def json(self, number: int, column: int, line: int) -> Json:
        """The panel's JSON for Grafana."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": column, "y": line},
            "links": [
                {
                    "title": "Runbook",
                    "url": f"{RUNBOOK_URL}#{self.runbook}",
                    "targetBlank": True,
                }
            ],
            "fieldConfig": {"defaults": self._field(), "overrides": self._overrides()},
            "options": _OPTIONS[self.kind],
            "targets": [
                {
                    "refId": chr(ord("A") + index),
                    "datasource": DATASOURCE,
                    "expr": query.expr,
                    "legendFormat": query.legend,
                    "format": "heatmap" if self.kind == "heatmap" else "time_series",
                    "range": True,
                    "instant": False,
                }
                for index, query in enumerate(self.queries)
            ],
        }

    def _field(self) -> Json:
        field: Json = {"unit": self.unit}
        if self.kind == "heatmap":
            return field
        if self.kind == "state-timeline":
            return field | self._states()
        field["min"] = 0
        if self.maximum is not None:
            field["max"] = self.maximum
        field["thresholds"] = {
            "mode": "absolute",
            "steps": (
                self.thresholds.steps() if self.thresholds else [{"color": _GREEN, "value": None}]
            ),
        }
        if self.kind == "stat":
            field["color"] = {"mode": "thresholds"}
            return field
        field["color"] = {"mode": "palette-classic-by-name"}
        field["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if self.stacked else 5,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if self.thresholds else "off"},
        }
        return field

    def _states(self) -> Json:
        """Texts and colours of 0 and 1."""
        colours = ("red", "green") if self.good else ("green", "orange")
        states = {
            str(value): {"text": text, "color": colour, "index": value}
            for value, (text, colour) in enumerate(zip(("No", "Yes"), colours, strict=True))
        }
        return {
            "color": {"mode": "thresholds"},
            "custom": {"fillOpacity": 70, "lineWidth": 0},
            "mappings": [{"type": "value", "options": states}],
        }

    def _overrides(self) -> list[Json]:
        """Fixed colours of outcomes, where they tell the series apart."""
        labels = ("{{outcome}}", "{{reason}}", "{{change}}", "{{source}}")
        if not any(label in query.legend for query in self.queries for label in labels):
            return []
        return [
            {
                "matcher": {"id": "byRegexp", "options": f"/(^| )({'|'.join(names)})$/"},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
            }
            for colour, names in OUTCOMES.items()
        ]


_OPTIONS: Final[dict[Kind, Json]] = {
    "timeseries": {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["lastNotNull", "max"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "state-timeline": {
        "mergeValues": True,
        "showValue": "never",
        "alignValue": "left",
        "rowHeight": 0.8,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "textMode": "value",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "heatmap": {
        "calculate": False,
        "yAxis": {"unit": "s"},
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "exponent": 0.5,
            "reverse": False,
            "steps": 64,
        },
        "cellGap": 1,
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": True},
    },
}
