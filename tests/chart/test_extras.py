"""The additions that platform teams make to charts arrive in the right objects."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.helm.pages import CHART
from tests.chart.helm import Helm, Object, Rendered, rendered_once
from tests.chart.test_schema import TRIAL
from tests.chart.test_workloads import COMPONENTS, pod_spec

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
        (metric.get("resource") or metric.get("containerResource") or metric["pods"]["metric"])[
            "name"
        ]
        for metric in metrics
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


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("clarion", "mirror.example.com/clarion:1"),
        ("team/clarion", "mirror.example.com/team/clarion:1"),
        ("registry.example.com/team/clarion", "mirror.example.com/team/clarion:1"),
        ("registry:5000/clarion", "mirror.example.com/clarion:1"),
        ("localhost/clarion", "mirror.example.com/clarion:1"),
    ],
)
def test_a_parents_registry_is_that_of_every_image(
    helm: Helm, repository: str, expected: str
) -> None:
    rendered = helm.render(
        *TRIAL,
        "--set", "global.imageRegistry=mirror.example.com,global.imagePullSecrets={mirror}",
        "--set-string", f"image.repository={repository},image.tag=1",
    )  # fmt: skip
    for _, pod in rendered.pods():
        (container,) = pod["spec"]["containers"]
        valkey = "mirror.example.com/valkey/valkey:9-alpine"
        assert container["image"] == (valkey if container["name"] == "valkey" else expected)
        assert pod["spec"]["imagePullSecrets"] == [{"name": "mirror"}]


def test_part_of_a_larger_chart(each_helm: Helm, tmp_path: Path) -> None:
    """A parent switches it on and off by `condition: clarion.enabled`, and hands its globals down."""
    parent = tmp_path / "shop"
    shutil.copytree(CHART, parent / "charts" / "clarion")
    dependency = {"name": "clarion", "version": ">=0", "condition": "clarion.enabled"}
    (parent / "Chart.yaml").write_text(
        yaml.safe_dump(
            {"apiVersion": "v2", "name": "shop", "version": "1.0.0", "dependencies": [dependency]}
        )
    )
    values = {"enabled": True, **yaml.safe_load((CHART / "ci" / "trial-values.yaml").read_text())}
    (parent / "values.yaml").write_text(
        yaml.safe_dump({"clarion": values, "global": {"imageRegistry": "mirror.example.com"}})
    )
    on = each_helm.run("template", "shop", str(parent))
    assert on.returncode == 0, on.stderr
    assert 'image: "mirror.example.com/clarion:' in on.stdout
    off = each_helm.run("template", "shop", str(parent), "--set", "clarion.enabled=false")
    assert (off.returncode, off.stdout.strip()) == (0, ""), off.stderr


FIELDS: list[tuple[str, object]] = [
    ("priorityClassName", "high"),
    ("runtimeClassName", "gvisor"),
    ("schedulerName", "binpack"),
    ("dnsPolicy", "Default"),
    ("dnsConfig", {"options": [{"name": "ndots", "value": "2"}]}),
    ("hostAliases", [{"ip": "192.0.2.1", "hostnames": ["login.example.com"]}]),
]


@pytest.mark.parametrize(("field", "value"), FIELDS, ids=[field for field, _ in FIELDS])
def test_fields_of_the_pod(helm: Helm, trial: Rendered, field: str, value: object) -> None:
    given = [f"--set-json={component}.{field}={json.dumps(value)}" for component in COMPONENTS]
    rendered = helm.render(*TRIAL, *given)
    for component in COMPONENTS:
        assert pod_spec(rendered, component)[field] == value
        assert field not in pod_spec(trial, component)


def test_topology_of_ones_own_replaces_ours(helm: Helm) -> None:
    constraint = {"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}
    given = f"gateway.topologySpreadConstraints={json.dumps([constraint])}"
    rendered = helm.render(*TRIAL, "--set-json", given)
    selector = rendered.the("Deployment", "gateway")["spec"]["selector"]
    assert pod_spec(rendered, "gateway")["topologySpreadConstraints"] == [
        {**constraint, "labelSelector": selector}
    ]
    assert "affinity" not in pod_spec(rendered, "gateway")


ZONE = "topology.kubernetes.io/zone"
SPREAD = "preferredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("spread", "constraints", "prefers"),
    [
        ({}, ["kubernetes.io/hostname"], True),
        ({"zone": "DoNotSchedule"}, ["kubernetes.io/hostname", ZONE], False),
        ({"zone": ""}, ["kubernetes.io/hostname"], False),
        ({"node": ""}, [], True),
        ({"zone": "", "node": ""}, [], False),
    ],
    ids=str,
)
def test_nodes_without_a_zone_spread_pods_too(
    helm: Helm, spread: Object, constraints: list[str], prefers: bool
) -> None:
    """The scheduler ignores all soft constraints for a node that lacks the label of one of them."""
    given = f"gateway.topologySpread={json.dumps(spread)}"
    spec = pod_spec(helm.render(*TRIAL, "--set-json", given), "gateway")
    keys = [one["topologyKey"] for one in spec.get("topologySpreadConstraints", [])]
    assert keys == constraints
    preferred = spec.get("affinity", {}).get("podAntiAffinity", {}).get(SPREAD, [])
    assert [one["podAffinityTerm"]["topologyKey"] for one in preferred] == [ZONE] * prefers


def test_an_affinity_of_ones_own_stands_beside_ours(helm: Helm) -> None:
    """One's own preference replaces the chart's."""
    term = {"topologyKey": "rack", "labelSelector": {}}
    mine = [{"weight": 1, "podAffinityTerm": term}]
    required = {"nodeSelectorTerms": [{"matchFields": []}]}
    nodes = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    given = {"gateway": {"nodeAffinity": nodes}, "publisher": {"podAntiAffinity": {SPREAD: mine}}}
    sets = [f"--set-json={name}.affinity={json.dumps(value)}" for name, value in given.items()]
    rendered = helm.render(*TRIAL, *sets)
    gateway = pod_spec(rendered, "gateway")["affinity"]
    assert gateway["nodeAffinity"] == nodes
    assert gateway["podAntiAffinity"][SPREAD][0]["podAffinityTerm"]["topologyKey"] == ZONE
    assert pod_spec(rendered, "publisher")["affinity"] == given["publisher"]


@pytest.mark.parametrize(
    ("options", "kind", "name", "path", "expected"),
    [
        (["gateway.rollout.progressDeadlineSeconds=900"], "Deployment", "gateway",
         "spec.progressDeadlineSeconds", 900),
        (["gateway.service.trafficDistribution=PreferClose"], "Service", "gateway",
         "spec.trafficDistribution", "PreferClose"),
        (["publisher.service.type=NodePort", "publisher.service.nodePort=30080"], "Service",
         "publisher", "spec.ports",
         [{"name": "public", "port": 80, "targetPort": "public", "nodePort": 30080,
           "appProtocol": "http"}]),
        (["metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.namespace=monitoring"],
         "ServiceMonitor", "clarion", "spec.namespaceSelector", {"matchNames": ["events"]}),
        (["metrics.podMonitor.enabled=true", "metrics.podMonitor.namespace=monitoring"],
         "PodMonitor", "clarion", "metadata.namespace", "monitoring"),
        (["metrics.prometheusRule.enabled=true", "metrics.prometheusRule.namespace=monitoring"],
         "PrometheusRule", "clarion", "metadata.namespace", "monitoring"),
        (["gateway.ingress.enabled=true", "gateway.ingress.hosts={a.example.com}",
          "gateway.ingress.labels.team=realtime"], "Ingress", "gateway",
         "metadata.labels.team", "realtime"),
        (["redis.valkey.priorityClassName=high"], "StatefulSet", "valkey",
         "spec.template.spec.priorityClassName", "high"),
        (["redis.valkey.annotations.a=b"], "StatefulSet", "valkey", "metadata.annotations",
         {"a": "b"}),
        (["redis.valkey.podAnnotations.a=b"], "StatefulSet", "valkey",
         "spec.template.metadata.annotations", {"a": "b"}),
        (["test.podLabels.a=b"], "Pod", "test", "metadata.labels.a", "b"),
        (["test.podAnnotations.a=b"], "Pod", "test", "metadata.annotations.a", "b"),
        (["networkPolicy.enabled=true", "networkPolicy.testEgress[0].ports[0].port=8443"],
         "NetworkPolicy", "test", "spec.egress.2", {"ports": [{"port": 8443}]}),
    ],
)  # fmt: skip
def test_reaches_its_field(
    helm: Helm, options: list[str], kind: str, name: str, path: str, expected: object
) -> None:
    assignments = [part for option in options for part in ("--set", option)]
    found: Any = helm.render(*TRIAL, *assignments).the(kind, name)
    for key in path.split("."):
        found = found[int(key)] if isinstance(found, list) else found[key]
    assert found == expected


def test_paths_are_typed(helm: Helm) -> None:
    values = "gateway.ingress.enabled=true,gateway.ingress.hosts={a.example.com}"
    typed = f"{values},gateway.ingress.pathType=ImplementationSpecific"
    (ingress,) = helm.render(*TRIAL, "--set", typed).all("Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert {one["pathType"] for one in rule["http"]["paths"]} == {"ImplementationSpecific"}


def test_a_login_of_redis_in_a_secret_of_its_own(helm: Helm) -> None:
    url = (
        "--set",
        "auth.secret=a secret of 32 bytes or even more",
        "--set",
        "redis.url=redis://a",
    )
    login = "redis.login.existingSecret"
    rendered = helm.render(*url, "--set", f"{login}.name=own,{login}.usernameKey=user")
    plain = helm.render(*url, "--set", f"{login}.name=own")
    for component in COMPONENTS:
        found = {
            one["name"]: one["valueFrom"].get("secretKeyRef")
            for one in rendered.container(component)["env"]
        }
        assert found["CLARION_REDIS_USERNAME"] == {"name": "own", "key": "user"}
        assert found["CLARION_REDIS_PASSWORD"] == {"name": "own", "key": "redis-password"}
        names = {one["name"] for one in plain.container(component)["env"]}
        assert "CLARION_REDIS_PASSWORD" in names
        assert "CLARION_REDIS_USERNAME" not in names, "Redis' own default"
    assert "redis.valkey.password" in helm.refusal(*TRIAL, "--set", f"{login}.name=own")


def test_a_password_for_the_bundled_valkey(helm: Helm, trial: Rendered) -> None:
    """It stands in Secrets only, and server, probes and services have it."""
    rendered = helm.render(*TRIAL, "--set", "redis.valkey.password=pass-word_1")
    secret = rendered.the("Secret", "valkey")
    assert secret["stringData"] == {"password": "pass-word_1"}
    valkey = rendered.the("StatefulSet", "valkey")
    (container,) = valkey["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--requirepass", "$(VALKEY_PASSWORD)"]
    assert [one["name"] for one in container["env"]] == ["VALKEY_PASSWORD", "REDISCLI_AUTH"]
    reference = {"name": secret["metadata"]["name"], "key": "password"}
    assert all(one["valueFrom"] == {"secretKeyRef": reference} for one in container["env"])
    for component in COMPONENTS:
        url = rendered.environment(component)["CLARION_REDIS_URL"]
        assert url == "redis://:pass-word_1@release-clarion-valkey:6379/0"
    others = [one for one in rendered.objects if one["kind"] != "Secret"]
    assert "pass-word_1" not in json.dumps(others)
    assert not trial.find("Secret", "valkey")
