"""The parts of a dashboard, as the JSON that Grafana loads: panels, rows, variables, links.

This module knows Grafana's spelling and the layout of panels, but no metric.
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

RUNBOOK_URL: Final = "https://clarion.example/docs/runbook.md"
"""The runbook's address; the chart replaces it by your own."""

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
# Grafana 10's version. Newer Grafanas (12.4: 42) convert it to their own when they load it.
_SCHEMA_VERSION: Final = 39
_GRID_COLUMNS: Final = 24
_GREEN, _YELLOW, _RED = "green", "yellow", "red"

Json = dict[str, Any]
Kind = Literal["timeseries", "stat", "heatmap"]


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
    width: int = 8
    height: int = 8

    def json(self, number: int, column: int, line: int) -> Json:
        """The panel's JSON for Grafana."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": column, "y": line},
            "links": [
                {
                    "title": "Runbook",
                    "url": f"{RUNBOOK_URL}#{self.runbook}",
                    "targetBlank": True,
                }
            ],
            "fieldConfig": {"defaults": self._field(), "overrides": []},
            "options": _OPTIONS[self.kind],
            "targets": [
                {
                    "refId": chr(ord("A") + index),
                    "datasource": _DATASOURCE,
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
        field["color"] = {"mode": "palette-classic"}
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


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, laid out from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard.

    Attributes:
        uid: the dashboard's address in Grafana; users' own links depend on it.
        drains: a query; its values of 1 are marked on all panels.
    """

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    drains: str

    def json(self) -> Json:
        """The dashboard's JSON for Grafana."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["clarion"],
            "schemaVersion": _SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,  # one crosshair on all panels
            "timezone": "browser",
            "time": {"from": "now-1h", "to": "now"},
            "refresh": "30s",
            "links": _links(),
            "templating": {"list": _variables()},
            "annotations": {"list": [_drains(self.drains)]},
            "panels": _laid_out(self.rows),
        }


def _laid_out(rows: Sequence[Row]) -> list[Json]:
    panels: list[Json] = []
    line = 0
    for row in rows:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": _GRID_COLUMNS, "x": 0, "y": line},
                "panels": [],
            }
        )
        line += 1
        column = height = 0
        for panel in row.panels:
            if column + panel.width > _GRID_COLUMNS:
                line += height
                column = height = 0
            panels.append(panel.json(len(panels) + 1, column, line))
            column += panel.width
            height = max(height, panel.height)
        line += height
    return panels


def _links() -> list[Json]:
    return [
        {
            "title": "Clarion",
            "type": "dashboards",
            "tags": ["clarion"],
            "asDropdown": False,
            "includeVars": True,
            "keepTime": True,
        },
        {
            "title": "Runbook",
            "type": "link",
            "icon": "doc",
            "url": RUNBOOK_URL,
            "targetBlank": True,
        },
    ]


def _variables() -> list[Json]:
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "refresh": 1,
            "hide": 0,
        },
        _label_values("namespace", "Namespace", "clarion_connections_max"),
        _label_values("pod", "Gateway pod", 'clarion_connections_max{namespace=~"$namespace"}'),
    ]


def _label_values(name: str, label: str, series: str) -> Json:
    query = f"label_values({series}, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # whenever the time range changes, because pods come and go
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _drains(expr: str) -> Json:
    return {
        "name": "Draining pods",
        "datasource": _DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "orange",
        "expr": expr,
        "titleFormat": "{{pod}} drains",
        "step": "15s",
    }
