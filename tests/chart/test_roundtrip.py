"""The script of `helm test`, run against real services in the environment that the chart makes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.chart.helm import Helm, Rendered
from tests.chart.test_schema import TRIAL
from tests.e2e.ports import free_port

_ROOT: Final = Path(__file__).parents[2]


@pytest.fixture
def release(helm: Helm, namespace: str) -> Rendered:
    """A release whose settings fit onto this machine."""
    settings = {
        "settings.CLARION_NAMESPACE": namespace,
        "gateway.settings.GATEWAY_HOST": "127.0.0.1",
        "gateway.settings.GATEWAY_PORT": free_port(),
        "gateway.settings.GATEWAY_INTERNAL_PORT": free_port(),
        "publisher.settings.PUBLISHER_HOST": "127.0.0.1",
        "publisher.settings.PUBLISHER_PORT": free_port(),
        "publisher.settings.PUBLISHER_INTERNAL_PORT": free_port(),
        "gateway.settings.GATEWAY_DRAIN_PAUSE_SECONDS": 0,
        "publisher.settings.PUBLISHER_DRAIN_PAUSE_SECONDS": 0,
    }
    return helm.render(*TRIAL, "--set", ",".join(f"{k}={v}" for k, v in settings.items()))


@pytest.fixture
def services(release: Rendered, redis_url: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A gateway and a publisher, started as the chart starts them."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *release.container(component)["args"]],
            env=_inherited() | release.environment(component) | {"CLARION_REDIS_URL": redis_url},
            cwd=_ROOT,
            stderr=subprocess.DEVNULL,
        )
        for component in ("gateway", "publisher")
    ]
    yield processes
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(20) for process in processes] == [0, 0]


def test_an_event_goes_all_the_way(release: Rendered, services: object) -> None:
    """If the chart knows no secret, the test only checks readiness."""
    result = _run_test_pod(release)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines() == [
        "ok: a gateway is ready",
        "ok: a publisher is ready",
        "ok: an event reaches its user",
    ]
    result = _run_test_pod(release, without=("GATEWAY_JWT_SECRET",))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].startswith("skipped: ")


def test_a_name_that_does_not_resolve_is_told_as_that(release: Rendered) -> None:
    """``.invalid`` never resolves (RFC 2606)."""
    result = _run_test_pod(
        release, GATEWAY_INTERNAL="http://gateway.shop.invalid:8080", DEADLINE_SECONDS="0"
    )
    assert result.returncode == 1
    assert "FAILED: a gateway is ready: the name gateway.shop.invalid does not" in result.stderr


def _run_test_pod(
    release: Rendered, without: tuple[str, ...] = (), **changed: str
) -> subprocess.CompletedProcess[str]:
    (pod,) = release.all("Pod")
    (container,) = pod["spec"]["containers"]
    environment = _addresses(release, container["env"])
    for secret in ("GATEWAY_JWT_SECRET", "PUBLISHER_JWT_SECRET"):
        component = secret.partition("_")[0].lower()
        environment[secret] = release.environment(component)["CLARION_JWT_SECRET"]
    return subprocess.run(
        [sys.executable, *container["command"][1:], *container["args"]],
        env=_inherited() | {k: v for k, v in environment.items() if k not in without} | changed,
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip


def _addresses(release: Rendered, variables: list[dict[str, str]]) -> dict[str, str]:
    """The Services' addresses on this machine: a Service leads to its container's port."""
    found = {}
    for variable in variables:
        if variable.get("value", "").startswith("http://"):
            service, _, _ = variable["value"].removeprefix("http://").partition(":")
            component = variable["name"].partition("_")[0].lower()
            (port,) = release.the("Service", service.removeprefix("release-clarion-"))["spec"][
                "ports"
            ]
            ports = release.container(component)["ports"]
            (container_port,) = [
                one["containerPort"] for one in ports if one["name"] == port["targetPort"]
            ]
            found[variable["name"]] = f"http://127.0.0.1:{container_port}"
    return found


def _inherited() -> dict[str, str]:
    """This process's environment without Clarion's variables."""
    own = ("CLARION_", "GATEWAY_", "PUBLISHER_", "OTEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}
