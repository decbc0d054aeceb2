"""`clarion health`, against real services."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clarion_cli.failure import ExitCode
from clarion_cli.health import own_url
from tests.cli.clarion import Clarion
from tests.e2e.ports import free_port
from tests.processes import Process, running


@pytest.mark.parametrize("service", ["gateway", "publisher"])
def test_a_ready_pod(service: str, clarion: Clarion, tmp_path: Path, redis_url: str) -> None:
    """As in a pod: the command has the service's own environment."""
    url = redis_url.replace("://", "://default:hunter2@")
    variables = {f"{service.upper()}_PATH_PREFIX": "/x", "CLARION_POD": "pod-7"}
    with running(service, tmp_path, redis_url, **variables) as process:
        own = {f"{service.upper()}_INTERNAL_PORT": str(process.internal_port)}
        result = clarion.run("health", **own)
        record = json.loads(result.stdout)
        assert result.returncode == ExitCode.DONE
        assert (record["service"], record["pod"]) == (service, "pod-7")
        assert (record["ready"], record["reasons"], record["warnings"]) == (True, [], [])
        assert record["settings"][f"{service.upper()}_PATH_PREFIX"] == "/x"
        assert record["settings"]["CLARION_JWT_SECRET"] == "***"
        assert f"{service.upper()}_DRAIN_GRACE_SECONDS" not in record["settings"]
        everything = json.loads(clarion.run("health", "--all", **own).stdout)["settings"]
        assert f"{service.upper()}_DRAIN_GRACE_SECONDS" in everything
        text = clarion.run("health", "--text", "--url", process.internal_url).stdout
        assert text.startswith(f"pod-7 ({service} ")
        assert "is ready" in text
        assert "hunter2" not in text + url.replace("hunter2", "")


def test_a_pod_that_is_not_ready_says_why(clarion: Clarion, tmp_path: Path) -> None:
    with Process("gateway", tmp_path / "log") as process:
        process.wait_until_it_listens()
        result = clarion.run("health", "--text", "--url", process.internal_url)
    assert result.returncode == ExitCode.UNAVAILABLE
    assert "is not ready" in result.stdout
    assert "because  bus never verified" in result.stdout


def test_nothing_answers(clarion: Clarion) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert f"nothing answers at {url}/readyz" in clarion.fails("health", "--url", url)
    assert clarion.run("health", "--url", url).returncode == ExitCode.UNREACHABLE
    assert clarion.run("health", "--url", "nothing").returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:9090"),
        ({"GATEWAY_INTERNAL_PORT": "9001"}, "http://127.0.0.1:9001"),
        ({"PUBLISHER_INTERNAL_PORT": "9080"}, "http://127.0.0.1:9080"),
        (
            {"GATEWAY_INTERNAL_PORT": "9001", "GATEWAY_INTERNAL_HOST": "fd00::7"},
            "http://[fd00::7]:9001",
        ),
        (
            {"GATEWAY_INTERNAL_PORT": "9001", "GATEWAY_INTERNAL_HOST": "0.0.0.0"},
            "http://127.0.0.1:9001",
        ),
    ],
)
def test_the_pods_own_port(environment: dict[str, str], url: str) -> None:
    assert own_url(environment) == url
