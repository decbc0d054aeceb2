"""A dashboard of rows of panels, as the JSON that Grafana loads: layout, variables, links.

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deploy.grafana.panel import DATASOURCE, RUNBOOK_URL, Json, Panel

# Grafana 10's version. Newer Grafanas (12.4: 42) convert it to their own when they load it.
_SCHEMA_VERSION: Final = 39
_GRID_COLUMNS: Final = 24


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, laid out from left to right.

    Attributes:
        collapsed: whether only the heading shows at first. Grafana
            asks Prometheus nothing for it then.
    """

    title: str
    panels: Sequence[Panel]
    collapsed: bool = True


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
    line = number = 0
    for row in rows:
        below, height = _below(row, number + 2, line + 1)
        panels.append(
            {
                "id": number + 1,
                "type": "row",
                "title": row.title,
                "collapsed": row.collapsed,
                "gridPos": {"h": 1, "w": _GRID_COLUMNS, "x": 0, "y": line},
                "panels": below if row.collapsed else [],
            }
        )
        number += 1 + len(below)
        line += 1
        if not row.collapsed:
            panels += below
            line += height
    return panels


def _below(row: Row, number: int, line: int) -> tuple[list[Json], int]:
    """A row's panels, numbered from here on and beginning at this line, and their height."""
    panels: list[Json] = []
    first = line
    column = height = 0
    for panel in row.panels:
        if column + panel.width > _GRID_COLUMNS:
            line += height
            column = height = 0
        panels.append(panel.json(number + len(panels), column, line))
        column += panel.width
        height = max(height, panel.height)
    return panels, line + height - first


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
        "datasource": DATASOURCE,
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
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "orange",
        "expr": expr,
        "titleFormat": "{{pod}} drains",
        "step": "15s",
    }
