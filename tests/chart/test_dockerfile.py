"""The Dockerfile copies all parts of the package, and .dockerignore lets them through."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_DOCKERFILE: Final = (_ROOT / "Dockerfile").read_text()


# A load client belongs on another machine than what it loads.
NOT_IN_AN_IMAGE: Final = {"bench/clarion_bench"}


def covers(folders: set[str], path: str) -> bool:
    """Whether a path lies in one of the folders."""
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def copied(dockerfile: str = _DOCKERFILE) -> set[str]:
    """The paths that are copied from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    return {name for line in lines for name in line.split()}


def production_copies() -> set[str]:
    """The parts of the repository that the production image is built from."""
    return copied(_DOCKERFILE[: _DOCKERFILE.index(" AS build-development")])


def test_every_package_is_in_the_image() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    packages = set(wheel["packages"])
    assert {package for package in packages if not covers(copied(), package)} == NOT_IN_AN_IMAGE
    assert copied() >= {"pyproject.toml", "constraints.txt", "README.md"}


def test_production_has_no_tools() -> None:
    """The page, the example and the bench are for developers' machines."""
    copies = production_copies()
    assert "gateway" in copies
    assert not copies & {"clients", "clients/page", "examples", "bench", "tests"}
    assert re.findall(r"^FROM .* AS (\S+)$", _DOCKERFILE, re.MULTILINE)[-1] == "production"


def test_nothing_else_is_sent_to_the_daemon() -> None:
    lines = (_ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert allowed == copied()


def test_its_version_is_the_packages() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    assert f"ARG VERSION={project['project']['version']}\n" in _DOCKERFILE
    chart = (_ROOT / "deploy" / "helm" / "clarion" / "Chart.yaml").read_text()
    assert f"\nappVersion: {project['project']['version']}\n" in chart


def test_signals_reach_the_service() -> None:
    """A shell in between would not pass SIGTERM on."""
    commands = re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$", _DOCKERFILE, re.MULTILINE)
    assert commands == ['["python", "-m"]', '["clarion_gateway"]']
