"""The cluster tests pass the right files and options to helm and kubectl. Needs no cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from kubernetes_validate import utils as kubernetes  # type: ignore[import-untyped]

from deploy.helm.pages import CHART
from tests.chart.helm import Helm, Rendered, find_kubectl
from tests.cluster import test_cluster, test_scaling
from tests.cluster.cluster import (
    RELEASE,
    WITNESS_COMMAND,
    Cluster,
    namespace_object,
    values,
    witness_objects,
)
from tests.cluster.cluster import image as image_values

IMAGE: Final = "registry.example.com:5000/team/clarion:1.2"
ENVIRONMENT: Final = {"CLARION_IMAGE": IMAGE, "CLARION_VALKEY_IMAGE": "mirror/valkey:9"}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (IMAGE, {"repository": "registry.example.com:5000/team/clarion", "tag": "1.2"}),
        ("clarion:local", {"repository": "clarion", "tag": "local"}),
        ("localhost:5000/clarion", {"repository": "localhost:5000/clarion"}),
        ("clarion@sha256:ab", {"repository": "clarion", "digest": "sha256:ab"}),
    ],
)
def test_images(reference: str, expected: dict[str, str]) -> None:
    assert image_values(reference) == expected


def rendered(helm: Helm, tmp_path: Path, *changes: str) -> Rendered:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values(ENVIRONMENT)))
    sets = [part for change in changes for part in ("--set", change)]
    result = helm.run("template", RELEASE, str(CHART), "--values", str(path), *sets)
    assert result.returncode == 0, result.stderr
    return Rendered([one for one in yaml.safe_load_all(result.stdout) if one])


def test_the_release_is_valid_and_the_witness_finds_it(
    helm: Helm,
    tmp_path: Path,
) -> None:
    """Objects match their schema, and the witness uses the release's names."""
    release = rendered(helm, tmp_path)
    (pod,) = release.all("Pod")
    program, witness = witness_objects(pod["spec"])
    for one in (*release.objects, program, witness, namespace_object("clarion-test")):
        kubernetes.validate(one, kubernetes.latest_version(), strict=True)
    urls = {part.removeprefix("http://") for part in WITNESS_COMMAND if part.startswith("http://")}
    services = {one["metadata"]["name"]: one["spec"]["ports"] for one in release.all("Service")}
    assert all(services[name][0]["port"] == 80 for name in urls)
    (container,) = witness["spec"]["containers"]
    (variable,) = container["env"]
    secret = variable["valueFrom"]["secretKeyRef"]
    assert secret["key"] in release.the("Secret", "gateway")["stringData"]
    assert release.the("Secret", "gateway")["metadata"]["name"] == secret["name"]
    assert container["image"] == IMAGE
    assert compile(program["data"]["witness.py"], "witness.py", "exec")


@pytest.mark.parametrize(
    "changes",
    [
        test_scaling.AUTOSCALING,
        ("gateway.autoscaling.connections.enabled=true", "gateway.settings.GATEWAY_MAX_CONNECTIONS=40"),
        ("gateway.settings.GATEWAY_PING_INTERVAL_SECONDS=20",),
        ("redis.valkey.persistence.enabled=true",),
    ],
    ids=str,
)  # fmt: skip
def test_what_they_change_can_be_changed(
    helm: Helm,
    tmp_path: Path,
    changes: tuple[str, ...],
) -> None:
    assert rendered(helm, tmp_path, *changes).objects


@pytest.fixture
def nowhere(
    helm: Helm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Cluster:
    """A cluster at whose address nothing answers."""
    server = {"name": "nowhere", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "clusters": [server], "contexts": [context], "users": [{"name": "nobody", "user": {}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("CLARION_IMAGE", IMAGE)
    return Cluster(find_kubectl(), helm, "clarion-test", tmp_path)


COMMANDS: Final[dict[str, Any]] = {
    "install": lambda cluster: cluster.install(["gateway.replicas=2"]),
    "upgrade": lambda cluster: cluster.release(
        "upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", "--set", "gateway.replicas=2"
    ),
    "rollback": lambda cluster: cluster.release("rollback", RELEASE),
    "uninstall": lambda cluster: cluster.release("uninstall", RELEASE),
    "test": lambda cluster: cluster.release("test", RELEASE, wait=False),
    "get hooks": lambda cluster: cluster.call_witness(),
    "apply": lambda cluster: cluster.apply(namespace_object("clarion-test")),
    "get pods": lambda cluster: cluster.pods("gateway"),
    "rollout status": lambda cluster: cluster.rolled_out(),
    "rollout restart": lambda cluster: cluster.run(
        "rollout", "restart", f"deployment/{RELEASE}-gateway"
    ),
    "delete pod": lambda cluster: cluster.run("delete", "pod", "x", "--grace-period=0", "--force"),
    "delete namespace": lambda cluster: cluster.run("delete", "namespace", "x", "--wait=true"),
    "wait": lambda cluster: cluster.run(
        "wait", "--for=condition=Ready", "pod/witness", "--timeout=1s"
    ),
    "exec": lambda cluster: cluster.run("exec", "--stdin", "witness", "--", *WITNESS_COMMAND),
    "everything left": test_cluster._left,
    "describe hpa": test_scaling.autoscaler,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(nowhere: Cluster, command: str) -> None:
    """Each command fails because there is no cluster, not because of an unknown option."""
    with pytest.raises((AssertionError, subprocess.TimeoutExpired)) as failure:
        COMMANDS[command](nowhere)
    said = str(failure.value)
    assert "refused" in said or "unreachable" in said, said
    assert "unknown" not in said, said
