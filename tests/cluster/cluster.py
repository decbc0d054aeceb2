"""A cluster, used only through kubectl and helm, whatever its provider and its set-up.

The cluster needs two images, on its nodes or in a registry that they reach: the one that
``CLARION_IMAGE`` names, and the bundled Valkey's (``CLARION_VALKEY_IMAGE`` names another copy).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.helm.pages import CHART
from tests.chart.helm import Helm, Object
from tests.conftest import SECRET
from tests.e2e import witness
from tests.e2e.watch import Watch, watched

RELEASE: Final = "clarion"
WITNESS: Final = "witness"
MINUTE: Final = 60.0

# Small, so that a cluster on one laptop takes it; quick, so that a test does not take all day.
VALUES: Final[Object] = {
    "auth": {"secret": SECRET},
    "redis": {
        "valkey": {
            "enabled": True,
            "persistence": {"enabled": False},  # who knows what storage there is
            "resources": {"requests": {"cpu": "50m"}},
        }
    },
    "gateway": {
        "replicas": 3,
        "autoscaling": {"enabled": False},
        "podDeletionCost": {"enabled": True},
        "rollout": {"minReadySeconds": 2},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "settings": {
            "GATEWAY_DRAIN_SPREAD_SECONDS": 3,
            "GATEWAY_POD_DELETION_COST_INTERVAL_SECONDS": 5,
        },
    },
    "publisher": {
        "replicas": 2,
        "autoscaling": {"enabled": False},
        "rollout": {"minReadySeconds": 2},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "settings": {"PUBLISHER_DRAIN_GRACE_SECONDS": 5},
    },
}


def image(reference: str) -> dict[str, str]:
    """The chart's values for an image: ``repository`` and ``tag`` or ``digest``."""
    repository, at, digest = reference.partition("@")
    if at:
        return {"repository": repository, "digest": digest}
    tagged = re.fullmatch(r"(.+):([^:/]+)", reference)
    if tagged is None:
        return {"repository": reference}
    return {"repository": tagged[1], "tag": tagged[2]}


def values(environment: dict[str, str]) -> Object:
    """The values for the tests' releases, with the images that the environment names."""
    made: Object = json.loads(json.dumps(VALUES))
    made["image"] = image(environment["CLARION_IMAGE"])
    if valkey := environment.get("CLARION_VALKEY_IMAGE"):
        made["redis"]["valkey"]["image"] = image(valkey)
    return made


@dataclass(frozen=True)
class Cluster:
    """One namespace of a cluster, and the release in it."""

    kubectl: Path
    helm: Helm
    namespace: str
    scratch: Path

    # kubectl

    def kubectl_command(self, *arguments: str) -> list[str]:
        return [str(self.kubectl), "--namespace", self.namespace, *arguments]

    def run(self, *arguments: str, stdin: str = "", seconds: float = 60) -> str:
        """Run kubectl.

        Raises:
            AssertionError: it failed; with what it said.
        """
        return _run(self.kubectl_command(*arguments), stdin, seconds)

    def get(self, *arguments: str) -> Object:
        found: Object = json.loads(self.run("get", *arguments, "--output", "json"))
        return found

    def apply(self, *objects: Object) -> None:
        text = "\n---\n".join(yaml.safe_dump(one) for one in objects)
        self.run("apply", "--filename", "-", stdin=text)

    def serves(self, path: str) -> bool:
        """Whether the API answers at a path, such as that of a metrics API."""
        try:
            self.run("get", "--raw", path)
        except AssertionError:
            return False
        return True

    def pods(self, component: str) -> list[Object]:
        """The release's pods, without those that are being deleted."""
        found = self.get(
            "pods",
            "--selector",
            f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}",
        )["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def rolled_out(self, seconds: float = 5 * MINUTE) -> None:
        """Wait until both Deployments are complete."""
        for component in ("gateway", "publisher"):
            self.run(
                "rollout", "status", f"deployment/{RELEASE}-{component}",
                f"--timeout={seconds:.0f}s", seconds=seconds + 10,
            )  # fmt: skip

    # helm

    def helm_command(self, *arguments: str) -> list[str]:
        return [str(self.helm.binary), "--namespace", self.namespace, *arguments]

    def release(self, verb: str, *arguments: str, wait: bool = True) -> str:
        """Run helm; with ``wait``, until the release's pods are ready or gone."""
        options = ["--wait", "--timeout", "8m"] if wait else []
        return _run(self.helm_command(verb, *arguments, *options), "", 9 * MINUTE)

    def install(self, changes: Sequence[str] = (), more: Object | None = None) -> None:
        """Install the release.

        Args:
            changes: of values, as `--set` takes them.
            more: values that are laid over the tests' own.
        """
        options = [part for change in changes for part in ("--set", change)]
        for name, given in (("values", values(dict(os.environ))), ("more", more or {})):
            path = self.scratch / f"{name}.yaml"
            path.write_text(yaml.safe_dump(given))
            options += ["--values", str(path)]
        self.release("install", RELEASE, str(CHART), *options)

    # From here to a pod

    @contextmanager
    def forwarded(self, pod: str, port: int) -> Iterator[int]:
        """A port of this host that leads to one of a pod's."""
        path = self.scratch / f"forwarded-{pod}-{port}"
        command = self.kubectl_command("port-forward", f"pod/{pod}", f":{port}")
        with ExitStack() as stack:
            said = stack.enter_context(path.open("w"))  # it writes a line for each connection
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.kill)
            eventually(lambda: _forwards(path), seconds=MINUTE, what=path.read_text)
            yield int(_forwards(path)[0])

    # The witness

    def call_witness(self, name: str = WITNESS) -> None:
        """Start a pod in which clients and producer run. It is as restricted as the release's own
        pods, and uses the release's image and secret. The release does not know it."""
        hooks = yaml.safe_load_all(_run(self.helm_command("get", "hooks", RELEASE), "", MINUTE))
        (pod,) = [one for one in hooks if one and one["kind"] == "Pod"]
        self.apply(*witness_objects(pod["spec"], name))
        self.run(
            "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=180s",
            seconds=190,
        )  # fmt: skip

    def python(self, pod: str, program: str, *arguments: str) -> str:
        """Run Python in a pod of the release, or in a witness; returns what it prints."""
        return self.run("exec", pod, "--", "python", "-c", program, *arguments).strip()

    @contextmanager
    def watched(self, *options: str) -> Iterator[Watch]:
        """Clients and a producer count, via the Services, while the body disturbs the release."""
        command = self.kubectl_command("exec", "--stdin", WITNESS, "--", *WITNESS_COMMAND, *options)
        with watched(command) as watch:
            yield watch


WITNESS_COMMAND: Final = (
    "python", "/witness/witness.py",
    "--gateway", f"http://{RELEASE}-gateway", "--publisher", f"http://{RELEASE}-publisher",
)  # fmt: skip


def witness_objects(spec: Object, name: str = WITNESS) -> list[Object]:
    """Program and pod of a witness, made from the restricted pod of ``helm test``."""
    (container,) = spec["containers"]
    program = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": WITNESS},
        "data": {"witness.py": Path(witness.__file__).read_text()},
    }
    secret = {"name": f"{RELEASE}-gateway", "key": "jwt-secret"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"clarion-test": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": spec["securityContext"],
            "imagePullSecrets": spec.get("imagePullSecrets", []),
            "containers": [
                {
                    "name": name,
                    "image": container["image"],
                    "imagePullPolicy": container["imagePullPolicy"],
                    "command": ["python", "-c", "import time; time.sleep(86400)"],
                    "env": [{"name": "CLARION_JWT_SECRET", "valueFrom": {"secretKeyRef": secret}}],
                    "securityContext": container["securityContext"],
                    "resources": {
                        "requests": {"cpu": "50m", "memory": "64Mi"},
                        "limits": {"memory": "512Mi"},
                    },
                    "volumeMounts": [{"name": "program", "mountPath": "/witness"}],
                }
            ],
            "volumes": [{"name": "program", "configMap": {"name": WITNESS}}],
        },
    }
    return [program, pod]


def namespace_object(name: str) -> Object:
    """A namespace that enforces Pod Security "restricted", so that no less restricted pod of ours
    could start. It also warns, because only pods are refused, not the objects that create them."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
            },
        },
    }


def eventually(condition: Callable[[], Any], *, seconds: float, what: Callable[[], object]) -> None:
    """Return once the condition holds; checks every two seconds, to spare the API server."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what()}"
        time.sleep(2)


def _forwards(path: Path) -> list[str]:
    """The ports of this host that `kubectl port-forward` has named so far."""
    return re.findall(r"from 127\.0\.0\.1:(\d+)", path.read_text())


def _run(command: Sequence[str], stdin: str, seconds: float) -> str:
    result = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout
