"""Properties of every release, whatever its values: its objects agree with one another."""

from __future__ import annotations

import math
from typing import Any

import pytest

from clarion_gateway.fleet.pod_deletion_cost import SERVICE_ACCOUNT
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings
from tests.chart.helm import NAMESPACE, Helm, Object, Rendered
from tests.chart.test_schema import TRIAL

COMPONENTS = ("gateway", "publisher")
PATHS = {"gateway": ["/ws", "/sse", "/socket.io"], "publisher": ["/v1"]}
COMPONENT = "app.kubernetes.io/component"


@pytest.fixture(params=COMPONENTS)
def component(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pod_spec(rendered: Rendered, component: str) -> Object:
    return dict(rendered.the("Deployment", component)["spec"]["template"]["spec"])


def drain_seconds(rendered: Rendered, component: str) -> float:
    """The longest time that the service's own drain takes."""
    environment = rendered.environment(component)
    parts = ("PAUSE", "SPREAD", "GRACE") if component == "gateway" else ("PAUSE", "GRACE")
    return sum(float(environment[f"{component.upper()}_DRAIN_{part}_SECONDS"]) for part in parts)


def test_a_drain_ends_before_the_pod_is_killed(rendered: Rendered, component: str) -> None:
    grace_seconds = pod_spec(rendered, component)["terminationGracePeriodSeconds"]
    assert grace_seconds >= math.ceil(drain_seconds(rendered, component)) + 10


@pytest.mark.parametrize("cls", [GatewaySettings, PublisherSettings])
def test_every_part_of_the_drain_is_in_the_grace_period(cls: type[Any]) -> None:
    """A new part of the drain must be added to the sum."""
    drains = {name for name in cls.model_fields if name.startswith("drain_")}
    expected = {"drain_pause_seconds", "drain_grace_seconds"}
    assert drains - {"drain_spread_seconds"} == expected


def test_a_longer_drain_lengthens_the_grace_period(helm: Helm) -> None:
    spread = "gateway.settings.GATEWAY_DRAIN_SPREAD_SECONDS=300.5"
    longer = helm.render(*TRIAL, "--set-json", spread)
    grace_seconds = 5 + 301 + 5 + 15
    assert pod_spec(longer, "gateway")["terminationGracePeriodSeconds"] == grace_seconds
    behavior = longer.the("HorizontalPodAutoscaler", "gateway")["spec"]["behavior"]
    assert behavior["scaleDown"]["policies"][0]["periodSeconds"] == grace_seconds


def test_paths_from_outside_have_the_services_prefix(helm: Helm, component: str) -> None:
    prefix = f"/{component}s"
    setting = f"{component}.settings.{component.upper()}_PATH_PREFIX={prefix}/"
    rendered = helm.render(
        *TRIAL,
        *("--set", setting),
        *("--set", f"{component}.ingress.enabled=true,{component}.ingress.hosts={{a.example}}"),
        *("--set", f"{component}.httpRoute.enabled=true"),
        *("--set", f"{component}.httpRoute.parentRefs[0].name=public"),
    )
    expected = [f"{prefix}{path}" for path in PATHS[component]]
    (rule,) = rendered.the("Ingress", component)["spec"]["rules"]
    assert [each["path"] for each in rule["http"]["paths"]] == expected
    (rule,) = rendered.the("HTTPRoute", component)["spec"]["rules"]
    assert [each["path"]["value"] for each in rule["matches"]] == expected
    (container,) = rendered.the("Pod", "test")["spec"]["containers"]
    urls = {each["name"]: each.get("value") for each in container["env"]}
    assert urls[component.upper()].endswith(prefix)


def test_the_ip_families_of_both_services(helm: Helm, component: str) -> None:
    rendered = helm.render(
        *TRIAL,
        "--set",
        f"{component}.service.ipFamilyPolicy=RequireDualStack",
        "--set",
        f"{component}.service.ipFamilies={{IPv6,IPv4}}",
    )
    services = [
        each["spec"]
        for each in rendered.objects
        if each["kind"] == "Service" and each["metadata"]["labels"].get(COMPONENT) == component
    ]
    assert len(services) == 2
    for spec in services:
        assert spec["ipFamilyPolicy"] == "RequireDualStack"
        assert spec["ipFamilies"] == ["IPv6", "IPv4"]


def test_the_cluster_chooses_the_ip_families_by_default(rendered: Rendered, component: str) -> None:
    spec = rendered.the("Service", component)["spec"]
    assert not {"ipFamilyPolicy", "ipFamilies"} & spec.keys()


@pytest.mark.parametrize("value", ["ipFamilyPolicy=DualStack", "ipFamilies={IPv5}"])
def test_ip_families_that_do_not_exist(helm: Helm, component: str, value: str) -> None:
    assert helm.lint(*TRIAL, "--set", f"{component}.service.{value}").returncode != 0


def test_at_most_one_autoscaler_for_the_right_deployment(
    rendered: Rendered, component: str
) -> None:
    """`test_replicas` says what the Deployment's own number is then."""
    owners = [
        found
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for found in rendered.all(kind)
        if found["spec"]["scaleTargetRef"]["name"].endswith(f"-{component}")
    ]
    deployment = rendered.the("Deployment", component)
    assert len(owners) <= 1
    for owner in owners:
        assert owner["spec"]["scaleTargetRef"] == {
            "apiVersion": deployment["apiVersion"],
            "kind": deployment["kind"],
            "name": deployment["metadata"]["name"],
        }


def test_gateways_leave_one_at_a_time_and_after_each_other(rendered: Rendered) -> None:
    """Each draining gateway sends its clients elsewhere; the next one starts after it."""
    if scaler := rendered.find("ScaledObject", "gateway"):
        behavior = scaler["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    elif scaler := rendered.find("HorizontalPodAutoscaler", "gateway"):
        behavior = scaler["spec"]["behavior"]
    else:
        return
    (policy,) = behavior["scaleDown"]["policies"]
    assert (policy["type"], policy["value"]) == ("Pods", 1)
    assert policy["periodSeconds"] > drain_seconds(rendered, "gateway")
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0


def test_cpu_is_that_of_our_own_container(rendered: Rendered, component: str) -> None:
    """A sidecar without a CPU request makes the pod's utilization unknown, and scaling stops."""
    if scaler := rendered.find("HorizontalPodAutoscaler", component):
        (metric,) = [
            one["containerResource"]
            for one in scaler["spec"]["metrics"]
            if one["type"] == "ContainerResource"
        ]
        assert metric["name"] == "cpu"
        names = [metric["container"]]
    elif scaler := rendered.find("ScaledObject", component):
        triggers = [one for one in scaler["spec"]["triggers"] if one["type"] == "cpu"]
        names = [one["metadata"]["containerName"] for one in triggers]
    else:
        return
    assert names == [component]
    assert "cpu" in rendered.container(component)["resources"]["requests"]


def test_connections_scale_below_what_a_pod_refuses(helm: Helm) -> None:
    rendered = helm.render(
        *TRIAL,
        "--set", "gateway.autoscaling.connections.enabled=true",
        "--set", "gateway.settings.GATEWAY_MAX_CONNECTIONS=50000",
    )  # fmt: skip
    metrics = rendered.the("HorizontalPodAutoscaler", "gateway")["spec"]["metrics"]
    (pods,) = [metric["pods"] for metric in metrics if metric["type"] == "Pods"]
    assert pods == {
        "metric": {"name": "clarion_connections"},
        "target": {"type": "AverageValue", "averageValue": "35000"},
    }


def test_a_rollout_adds_before_it_removes(rendered: Rendered, component: str) -> None:
    strategy = rendered.the("Deployment", component)["spec"]["strategy"]
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0
    assert strategy["rollingUpdate"]["maxSurge"]


def test_a_disruption_budget_always_lets_a_node_drain(trial: Rendered, component: str) -> None:
    spec = trial.the("PodDisruptionBudget", component)["spec"]
    assert spec["maxUnavailable"] == 1
    assert "minAvailable" not in spec
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_every_selector_finds_its_pods_and_no_others(rendered: Rendered) -> None:
    labels = [pod["metadata"]["labels"] for _, pod in rendered.pods()]
    selecting = [(found, _selector(found)) for found in rendered.objects]
    for found, selector in selecting:
        if selector:
            matched = [own[COMPONENT] for own in labels if selector.items() <= own.items()]
            assert matched == [found["metadata"]["labels"][COMPONENT]], found


def _selector(found: Object) -> Object:
    """The selector for pods in an object; None: the object has none."""
    match found["kind"]:
        case "Deployment" | "StatefulSet" | "PodDisruptionBudget":
            return dict(found["spec"]["selector"]["matchLabels"])
        case "NetworkPolicy":
            return dict(found["spec"]["podSelector"]["matchLabels"])
        case "Service":
            return dict(found["spec"]["selector"])
        case _:
            return {}


def test_monitors_select_what_has_the_internal_port(rendered: Rendered) -> None:
    for kind, endpoints in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")):
        for monitor in rendered.all(kind):
            assert [end["port"] for end in monitor["spec"][endpoints]] == ["internal"]
            (expression,) = monitor["spec"]["selector"]["matchExpressions"]
            assert expression["values"] == list(COMPONENTS)
            wanted = monitor["spec"]["selector"]["matchLabels"]
            for component in COMPONENTS:
                service = rendered.the("Service", f"{component}-internal")
                assert wanted.items() <= service["metadata"]["labels"].items()
                pod = rendered.the("Deployment", component)["spec"]["template"]
                assert wanted.items() <= pod["metadata"]["labels"].items()


def test_ports_are_those_that_the_service_listens_on(rendered: Rendered, component: str) -> None:
    environment = rendered.environment(component)
    container = rendered.container(component)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {
        "public": int(environment[f"{component.upper()}_PORT"]),
        "internal": int(environment[f"{component.upper()}_INTERNAL_PORT"]),
    }
    (public,) = rendered.the("Service", component)["spec"]["ports"]
    (internal,) = rendered.the("Service", f"{component}-internal")["spec"]["ports"]
    assert (public["targetPort"], internal["targetPort"]) == ("public", "internal")


def test_ports_follow_the_settings(helm: Helm) -> None:
    rendered = helm.render(*TRIAL, "--set", "gateway.settings.GATEWAY_INTERNAL_PORT=9999")
    ports = {port["name"]: port["containerPort"] for port in rendered.container("gateway")["ports"]}
    assert ports == {"public": 8000, "internal": 9999}
    (internal,) = rendered.the("Service", "gateway-internal")["spec"]["ports"]
    assert internal["port"] == 9999


def test_nothing_public_leads_to_the_internal_port(rendered: Rendered) -> None:
    """Metrics never face the internet."""
    for service in rendered.all("Service"):
        if service["spec"].get("clusterIP") != "None":
            assert [port["name"] for port in service["spec"]["ports"]] in (["public"], ["redis"])
    for ingress in rendered.all("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                assert path["backend"]["service"]["port"] == {"name": "public"}
    for route in rendered.all("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                service = rendered.the("Service", backend["name"].rpartition("-")[2])
                assert service["metadata"]["name"] == backend["name"]
                assert backend["port"] == service["spec"]["ports"][0]["port"]


def test_probes_ask_the_internal_port(rendered: Rendered, component: str) -> None:
    container = rendered.container(component)
    asked = {
        probe: container[probe]["httpGet"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert asked == {
        "startupProbe": {"path": "/healthz", "port": "internal"},
        "livenessProbe": {"path": "/healthz", "port": "internal"},
        "readinessProbe": {"path": "/readyz", "port": "internal"},
    }


def test_pods_are_restricted(rendered: Rendered) -> None:
    """Pod Security Standards, profile "restricted", and a read-only root file system."""
    for _, pod in rendered.pods():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not [volume for volume in spec.get("volumes", []) if "hostPath" in volume]
        for container in spec["containers"]:
            if container["name"] == "sidecar":  # an example's own
                continue
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"].keys() == {"memory"}


def test_service_accounts_have_no_token(rendered: Rendered) -> None:
    for account in rendered.all("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_nothing_is_allowed_to_ask_kubernetes_without_being_told_to(rendered: Rendered) -> None:
    kinds = {found["kind"] for found in rendered.objects}
    asked = "GATEWAY_POD_DELETION_COST" in rendered.environment("gateway")
    assert ({"Role", "RoleBinding"} <= kinds) == asked
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    for pod in (pod["spec"] for _, pod in rendered.pods()):
        projected = [one for one in pod.get("volumes", []) if "projected" in one]
        assert bool(projected) == (asked and pod["containers"][0]["name"] == "gateway")


def test_the_deletion_cost_needs_one_right_and_has_no_other(helm: Helm) -> None:
    rendered = helm.render(*TRIAL, "--set", "gateway.podDeletionCost.enabled=true")
    role = rendered.the("Role", "gateway")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]}]
    binding = rendered.the("RoleBinding", "gateway")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert subject == {
        "kind": "ServiceAccount",
        "name": pod_spec(rendered, "gateway")["serviceAccountName"],
        "namespace": NAMESPACE,
    }


def test_the_token_is_where_the_gateway_looks_for_it_and_in_no_sidecar(helm: Helm) -> None:
    rendered = helm.render(
        *TRIAL,
        "--set", "gateway.podDeletionCost.enabled=true",
        "--set-json", 'gateway.extraContainers=[{"name": "sidecar", "image": "sidecar"}]',
    )  # fmt: skip
    spec = pod_spec(rendered, "gateway")
    (volume,) = [one for one in spec["volumes"] if "projected" in one]
    mounted = {
        container["name"]: mount["mountPath"]
        for container in spec["containers"]
        for mount in container.get("volumeMounts", [])
        if mount["name"] == volume["name"]
    }
    assert mounted == {"gateway": str(SERVICE_ACCOUNT)}
    token, authority, own = volume["projected"]["sources"]
    assert token == {"serviceAccountToken": {"path": "token"}}
    assert authority["configMap"]["name"] == "kube-root-ca.crt"
    assert authority["configMap"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    (namespace,) = own["downwardAPI"]["items"]
    assert namespace == {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}


@pytest.mark.parametrize("asked", [True, False])
def test_the_deletion_cost_gets_through_the_network_policy(helm: Helm, asked: bool) -> None:
    cost = f"gateway.podDeletionCost.enabled={str(asked).lower()}"
    rendered = helm.render(*TRIAL, "--set", f"networkPolicy.enabled=true,{cost}")
    api = {"ports": [{"port": 443}, {"port": 6443}]}
    for component in COMPONENTS:
        egress = rendered.the("NetworkPolicy", component)["spec"]["egress"]
        assert (api in egress) == (asked and component == "gateway")


@pytest.mark.parametrize("scheme", ["redis+cluster://{}", "rediss+sentinel://{}/clarion"])
def test_all_nodes_of_a_redis_get_through_the_network_policy(helm: Helm, scheme: str) -> None:
    """The nodes that the URL names, and the nodes that those report."""
    url = scheme.format("user:secret@one:7000\\,two:7001")
    values = f"networkPolicy.enabled=true,networkPolicy.redisPort=7002,redis.url={url}"
    rendered = helm.render(*TRIAL, "--set", f"{values},redis.valkey.enabled=false")
    for component in COMPONENTS:
        egress = rendered.the("NetworkPolicy", component)["spec"]["egress"]
        assert {"ports": [{"port": 7002}, {"port": 7000}, {"port": 7001}]} in egress


def test_a_new_version_of_the_chart_alone_rolls_no_pod(rendered: Rendered) -> None:
    """A roll-out makes every client reconnect."""
    for kind, pod in rendered.pods():
        if kind != "Pod":
            assert "helm.sh/chart" not in pod["metadata"]["labels"]


@pytest.mark.parametrize(
    "change",
    [
        "gateway.settings.GATEWAY_COMPRESSION=true",
        "settings.CLARION_LOG_LEVEL=debug",
        "auth.secret=" + "another secret, 32 bytes or more",
    ],
)
def test_a_changed_setting_rolls_the_pods(helm: Helm, trial: Rendered, change: str) -> None:
    """Services read their settings once, when they start."""
    changed = helm.render(*TRIAL, "--set", change.replace(", ", "\\, "))
    assert pod_template(changed) != pod_template(trial)


def pod_template(rendered: Rendered) -> Object:
    return dict(rendered.the("Deployment", "gateway")["spec"]["template"])


def test_names_fit(helm: Helm) -> None:
    """Names of Services, host names of pods and values of labels have at most 63 characters."""
    rendered = helm.render(*TRIAL, "--set", "fullnameOverride=" + "n" * 63)
    for found in rendered.objects:
        suffix = "-0123456789-abcde" if found["kind"] == "Deployment" else ""
        assert len(found["metadata"]["name"] + suffix) <= 63, found
        assert all(len(str(value)) <= 63 for value in found["metadata"]["labels"].values())


def test_long_names_that_begin_alike_stay_apart(helm: Helm) -> None:
    names = (
        "payments-and-settlements-staging-eu-west-1",
        "payments-and-settlements-staging-eu-west-2",
    )
    first, second = (helm.render(*TRIAL, "--set", f"fullnameOverride={name}") for name in names)
    assert not {one["metadata"]["name"] for one in first.objects} & {
        one["metadata"]["name"] for one in second.objects
    }


def test_short_names_have_no_hash(helm: Helm) -> None:
    rendered = helm.render(*TRIAL, "--set", "fullnameOverride=" + "n" * 36)
    assert rendered.the("Deployment", "gateway")["metadata"]["name"] == "n" * 36 + "-gateway"


@pytest.mark.parametrize("ports", [[53, 5353], [8053]])
def test_names_are_looked_up_at_the_clusters_ports(helm: Helm, ports: list[int]) -> None:
    """OpenShift's DNS pods listen on 5353; without it no pod, and no `helm test`, finds anything."""
    given = ["--set-json", f"networkPolicy.dnsPorts={ports}"] if ports != [53, 5353] else []
    rendered = helm.render(*TRIAL, "--set", "networkPolicy.enabled=true", *given)
    dns = {
        "ports": [
            {"port": port, "protocol": protocol} for port in ports for protocol in ("UDP", "TCP")
        ]
    }
    for name in (*COMPONENTS, "test"):
        assert dns in rendered.the("NetworkPolicy", name)["spec"]["egress"]


def test_what_the_chart_sets_wins_over_a_config_map_of_ones_own(rendered: Rendered) -> None:
    """Of several sources of one variable, the last one wins."""
    for component in COMPONENTS:
        last = rendered.container(component)["envFrom"][-1]
        assert last["configMapRef"]["name"].endswith(f"-{component}")


def test_what_refers_to_an_object_finds_it(rendered: Rendered) -> None:
    """ConfigMaps and Secrets that are not in the release must be the user's own."""
    own = {(found["kind"], found["metadata"]["name"]) for found in rendered.objects}
    theirs = {"tokens", "redis", "otlp", "chat"}
    for _, pod in rendered.pods():
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", []):
                secret = variable.get("valueFrom", {}).get("secretKeyRef")
                if secret and secret["name"] not in theirs:
                    assert ("Secret", secret["name"]) in own
            for source in container.get("envFrom", []):
                if config := source.get("configMapRef"):
                    assert ("ConfigMap", config["name"]) in own
        for volume in pod["spec"].get("volumes", []):
            if config := volume.get("configMap"):
                assert ("ConfigMap", config["name"]) in own
        account = pod["spec"].get("serviceAccountName", "default")
        assert account == "default" or ("ServiceAccount", account) in own
