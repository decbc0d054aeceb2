"""The additions that platform teams make to charts arrive in the right objects."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.helm import Helm, Object, Rendered, rendered_once
from tests.chart.test_schema import TRIAL

EXTERNAL = "external-values.yaml"


@pytest.fixture
def external(helm: Helm) -> Rendered:
    """An ordinary production install."""
    return rendered_once(helm, EXTERNAL)


@pytest.mark.parametrize(
    ("example", "kind", "name", "path", "expected"),
    [
        (EXTERNAL, "Deployment", "gateway", "metadata.annotations",
         {"reloader.stakater.com/auto": "true"}),
        (EXTERNAL, "ConfigMap", "notice", "data", {"owner": "realtime"}),
        ("keda-values.yaml", "Service", "gateway", "spec.loadBalancerClass",
         "example.com/internal"),
        ("keda-values.yaml", "Service", "gateway", "spec.loadBalancerSourceRanges",
         ["192.0.2.0/24"]),
        ("handlers-values.yaml", "StatefulSet", "valkey", "spec.template.spec.nodeSelector",
         {"pool": "realtime"}),
        ("handlers-values.yaml", "StatefulSet", "valkey", "spec.template.spec.tolerations",
         [{"key": "realtime", "operator": "Exists", "effect": "NoSchedule"}]),
    ],
)  # fmt: skip
def test_arrives(
    helm: Helm, example: str, kind: str, name: str, path: str, expected: object
) -> None:
    found: Any = rendered_once(helm, example).the(kind, name)
    for key in path.split("."):
        found = found[key]
    assert found == expected


def test_metrics_of_ones_own_stand_beside_ours(helm: Helm, external: Rendered) -> None:
    metrics = external.the("HorizontalPodAutoscaler", "gateway")["spec"]["metrics"]
    named = [
        metric.get("resource", metric.get("pods", {}).get("metric"))["name"] for metric in metrics
    ]
    assert named == ["cpu", "clarion_connections", "memory"]
    (scaler,) = rendered_once(helm, "keda-values.yaml").all("ScaledObject")
    triggers = [trigger["type"] for trigger in scaler["spec"]["triggers"]]
    assert triggers == ["cpu", "prometheus", "memory"]


def test_every_alert_has_the_teams_label_and_keeps_its_own(external: Rendered) -> None:
    rules = [
        rule
        for found in external.all("PrometheusRule")
        for group in found["spec"]["groups"]
        for rule in group["rules"]
    ]
    assert {rule["labels"]["team"] for rule in rules} == {"realtime"}
    assert {rule["labels"]["severity"] for rule in rules} == {"critical", "warning"}


def test_a_teams_label_cannot_take_an_alerts_severity(helm: Helm) -> None:
    rendered = helm.render(
        *TRIAL,
        "--set", "metrics.prometheusRule.enabled=true",
        "--set", "metrics.prometheusRule.alertLabels.severity=none",
    )  # fmt: skip
    (rules,) = rendered.all("PrometheusRule")
    assert "none" not in {
        rule["labels"]["severity"] for rule in rules["spec"]["groups"][0]["rules"]
    }


def test_monitors_take_relabelings(helm: Helm, external: Rendered) -> None:
    (monitor,) = external.all("ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["relabelings"][0]["targetLabel"] == "node"
    assert endpoint["metricRelabelings"][0]["action"] == "drop"
    (monitor,) = rendered_once(helm, "keda-values.yaml").all("PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert "relabelings" not in endpoint
    assert endpoint["metricRelabelings"][0]["action"] == "drop"


def test_a_cluster_may_choose_the_user(helm: Helm) -> None:
    """As OpenShift does: numbers of ours would be refused."""
    numbers = ("runAsUser", "runAsGroup", "fsGroup")
    rendered = helm.render(
        *TRIAL, "--set", ",".join(f"podSecurityContext.{name}=null" for name in numbers)
    )
    for _, pod in rendered.pods():
        security = pod["spec"]["securityContext"]
        assert not set(numbers) & security.keys()
        assert security["runAsNonRoot"] is True


def test_the_charts_test_may_run_where_gateways_may(external: Rendered) -> None:
    (test,) = external.all("Pod")
    gateway = external.the("Deployment", "gateway")["spec"]["template"]["spec"]
    for field in ("nodeSelector", "tolerations", "imagePullSecrets"):
        assert test["spec"][field] == gateway[field], field


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("redis.valkey.image.tag=8-alpine", "valkey/valkey:8-alpine"),
        (f"redis.valkey.image.digest=sha256:{'a' * 64}", f"valkey/valkey@sha256:{'a' * 64}"),
    ],
)
def test_the_bundled_valkey_can_be_pinned(helm: Helm, options: str, expected: str) -> None:
    assert _image(helm.render(*TRIAL, "--set", options).the("StatefulSet", "valkey")) == expected


def _image(found: Object) -> str:
    (container,) = found["spec"]["template"]["spec"]["containers"]
    return str(container["image"])


def test_part_of_a_larger_chart(helm: Helm) -> None:
    """helm hands `global` to every subchart."""
    assert helm.render(*TRIAL, "--set", "global.imageRegistry=registry.example.com").objects
