"""The base installation is small, and says what is missing when it is not enough."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from clarion_cli.failure import ExitCode
from tests.installed.installation import CHECKOUT, Installation, closure, project

pytestmark = pytest.mark.timeout(300)

# In a folder without a checkout, so that nothing is imported from there.
LOADED = "import {}, json, sys; print(json.dumps(sorted(sys.modules)))"
OURS = LOADED.format("clarion, clarion.client, clarion.publisher, clarion.testing")


def test_the_public_package_needs_the_base_installation_only(
    base: Installation, tmp_path: Path
) -> None:
    done = base.run("python", "-c", OURS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"clarion", "clarion.client", "clarion.publisher", "pydantic"} <= set(
        json.loads(done.stdout)
    )


def test_the_public_package_imports_nothing_of_an_extra(tmp_path: Path) -> None:
    """Even if everything is installed, importing it costs no more. httpx imports rich if it is there."""
    ours, httpx = (
        {name.partition(".")[0] for name in json.loads(done.stdout)}
        for code in (OURS, LOADED.format("httpx"))
        if (done := CHECKOUT.run("python", "-c", code, cwd=tmp_path))
    )
    loaded = ours - httpx
    heavy = closure(project()["optional-dependencies"]["server"])
    heavy -= closure(project()["dependencies"])
    modules = {
        module
        for module, distributions in metadata.packages_distributions().items()
        if any(name.lower().replace("_", "-") in heavy for name in distributions)
    }
    assert {"redis", "fastapi", "starlette", "prometheus_client", "opentelemetry"} <= modules
    assert loaded & modules == set()


@pytest.mark.parametrize(
    ("arguments", "program", "exit_code"),
    [
        (("clarion",), "clarion", ExitCode.SETUP),
        (("clarion", "up"), "clarion", ExitCode.SETUP),
        (("python", "-m", "clarion_cli"), "clarion", ExitCode.SETUP),
        (("python", "-m", "clarion_gateway"), "gateway", 1),
        (("python", "-m", "clarion_publisher", "--help"), "publisher", 1),
    ],
)
def test_a_program_names_the_extra_that_it_needs(
    base: Installation, tmp_path: Path, arguments: tuple[str, ...], program: str, exit_code: int
) -> None:
    done = base.run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (exit_code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{program}: the module ")
    assert line.endswith(" is missing; Clarion's extra `server` installs it")


def test_the_extra_embedded_brings_the_services_too() -> None:
    extras = project()["optional-dependencies"]
    assert {name for name in ("embedded", "bench", "dev") if brings(extras[name])} == {
        "embedded", "bench", "dev",
    }  # fmt: skip


def brings(requirements: list[str]) -> bool:
    return any(line.startswith(("clarion[server]", "clarion[embedded]")) for line in requirements)
