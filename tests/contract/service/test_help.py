"""Services that are started with arguments answer them, and do not start."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clarion_contract.service.settings import ContractSettings, variable
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings
from tests.cli.clarion import ROOT, environment

SERVICES = [("gateway", GatewaySettings), ("publisher", PublisherSettings)]


def run(service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"clarion_{service}", *arguments],
        cwd=ROOT,
        env=environment(GATEWAY_PORT="bad", PUBLISHER_PORT="bad"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize(("service", "cls"), SERVICES)
def test_help_says_what_it_is_and_names_every_setting(
    service: str, cls: type[ContractSettings], option: str
) -> None:
    completed = run(service, option)
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout.startswith(f"Usage: python -m clarion_{service}\n\nThe {service} ")
    assert "docs/settings.md" in completed.stdout
    named = {line.strip().partition("=")[0] for line in completed.stdout.splitlines()}
    assert {variable(cls, field) for field in cls.model_fields} - named == set()


@pytest.mark.parametrize(("service", "cls"), SERVICES)
def test_any_other_argument_is_an_error(service: str, cls: type[ContractSettings]) -> None:
    completed = run(service, "--port", "80")
    assert (completed.returncode, completed.stdout) == (2, "")
    assert completed.stderr == (
        f"{service}: expected no arguments, got '--port'; settings come from the environment "
        f"(see `python -m clarion_{service} --help`)\n"
    )
