"""The files under test, and their contents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DASHBOARDS: Final = ROOT / "deploy/helm/clarion/dashboards"
ALERTS: Final = ROOT / "deploy/helm/clarion/alerts/clarion.yaml"
ALERT_TESTS: Final = Path(__file__).parent / "alerts.test.yaml"
ADAPTER: Final = ROOT / "deploy/helm/prometheus-adapter-values.yaml"
SCRAPE: Final = ROOT / "deploy/prometheus/prometheus.yml"
RUNBOOK: Final = ROOT / "docs/runbook.md"

Fields = dict[str, Any]


@dataclass(frozen=True)
class Expression:
    """One PromQL expression of a file, and its place in the file."""

    where: str
    expr: str

    def __str__(self) -> str:
        return self.where


def load_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def dashboards() -> list[Fields]:
    return [json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))]


def rows(dashboard: Fields) -> list[tuple[Fields, list[Fields]]]:
    """Each row with its panels, which stand in a collapsed row and after an open one."""
    found: list[tuple[Fields, list[Fields]]] = []
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            found.append((panel, list(panel["panels"])))
        else:
            found[-1][1].append(panel)
    return found


def panels(dashboard: Fields) -> list[Fields]:
    return [panel for _, below in rows(dashboard) for panel in below]


def alerts() -> list[Fields]:
    return [rule for group in load_yaml(ALERTS)["groups"] for rule in group["rules"]]


def panel_expressions() -> Iterator[Expression]:
    for dashboard in dashboards():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                where = f"{dashboard['title']}: {panel['title']} ({target['legendFormat']})"
                yield Expression(where, target["expr"])
        for annotation in dashboard["annotations"]["list"]:
            yield Expression(f"{dashboard['title']}: {annotation['name']}", annotation["expr"])


def alert_expressions() -> Iterator[Expression]:
    for alert in alerts():
        yield Expression(alert["alert"], alert["expr"])


def adapter_expressions() -> Iterator[Expression]:
    """The adapter's templates, filled in as the adapter does it for the pods of one namespace."""
    for rule in load_yaml(ADAPTER)["rules"]["custom"]:
        series = re.match(r"\w+", rule["seriesQuery"])
        assert series
        yield Expression("adapter: discovery", rule["seriesQuery"])
        filled = {
            "<<.Series>>": series[0],
            "<<.LabelMatchers>>": 'namespace="local",pod=~"gateway-1|gateway-2"',
            "<<.GroupBy>>": "pod",
        }
        expr = rule["metricsQuery"]
        for name, value in filled.items():
            expr = expr.replace(name, value)
        yield Expression("adapter: connections per pod", expr)


def selectors(expr: str) -> list[str]:
    """Every series selector of an expression. All of ours are written with braces."""
    return re.findall(r"[a-z_:][a-z0-9_:]*\{[^}]*\}", expr)


def metric_names(expr: str) -> set[str]:
    """The metrics of an expression, by their names in docs/metrics.md."""
    names = {selector.partition("{")[0] for selector in selectors(expr)}
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def anchors(markdown: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", markdown.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
