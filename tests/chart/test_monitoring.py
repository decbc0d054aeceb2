"""Dashboards and alerts reach the cluster unchanged, except for two replacements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import yaml

from deploy.helm.pages import CHART
from tests.chart.helm import NAMESPACE, Helm, rendered_once
from tests.chart.test_schema import TRIAL

_PLACEHOLDER: Final = "https://clarion.example/docs/runbook.md"
_RUNBOOK: Final = "https://wiki.example.com/clarion"


def test_dashboards_arrive_with_links_to_the_users_runbook(helm: Helm) -> None:
    """The braces of Grafana and Prometheus look like helm's own, and must survive."""
    rendered = helm.render(
        *TRIAL,
        "--set", "metrics.dashboards.enabled=true",
        "--set", f"metrics.runbookUrl={_RUNBOOK}",
    )  # fmt: skip
    found = {
        name: json.loads(text)
        for config in rendered.all("ConfigMap")
        if config["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in config["data"].items()
    }
    assert found == {
        path.name: json.loads(path.read_text().replace(_PLACEHOLDER, _RUNBOOK))
        for path in _files("dashboards/*.json")
    }


def test_dashboards_go_where_the_sidecar_looks(helm: Helm) -> None:
    rendered = rendered_once(helm, "keda-values.yaml")
    places = {
        config["metadata"]["namespace"]
        for config in rendered.all("ConfigMap")
        if "grafana_dashboard" in config["metadata"]["labels"]
    }
    assert places == ({"grafana"} if _files("dashboards/*.json") else set())


def test_alerts_watch_the_release_and_link_to_the_users_runbook(helm: Helm) -> None:
    """Two releases must not trigger each other's alerts; everything else is as in the file."""
    rendered = helm.render(
        *TRIAL,
        "--set", "metrics.prometheusRule.enabled=true",
        "--set", f"metrics.runbookUrl={_RUNBOOK}",
    )  # fmt: skip
    groups = [rule["spec"]["groups"] for rule in rendered.all("PrometheusRule")]
    expected = [
        yaml.safe_load(
            path.read_text()
            .replace('namespace=~".+"', f'namespace="{NAMESPACE}"')
            .replace(_PLACEHOLDER, _RUNBOOK)
        )["groups"]
        for path in _files("alerts/*.yaml")
    ]
    assert groups == expected
    assert ".+" not in json.dumps(groups)


def test_nothing_of_it_without_being_asked(helm: Helm) -> None:
    """A cluster without the operator's kinds would refuse the release."""
    kinds = {found["kind"] for found in helm.render(*TRIAL).objects}
    assert not kinds & {"PrometheusRule", "ServiceMonitor", "PodMonitor", "ScaledObject"}


def test_the_adapter_serves_what_the_hpa_asks_for(helm: Helm) -> None:
    path = CHART.parent / "prometheus-adapter-values.yaml"
    (rule,) = yaml.safe_load(path.read_text())["rules"]["custom"]
    rendered = rendered_once(helm, "external-values.yaml")
    metrics = rendered.the("HorizontalPodAutoscaler", "gateway")["spec"]["metrics"]
    asked = [one["pods"]["metric"]["name"] for one in metrics if one["type"] == "Pods"]
    assert asked == [rule["name"]["as"]] == ["clarion_connections"]
    assert rule["seriesQuery"].startswith("clarion_connections{")


def _files(pattern: str) -> list[Path]:
    return sorted(CHART.glob(pattern))
