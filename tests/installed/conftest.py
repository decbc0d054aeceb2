"""The wheel, and environments that contain it, each made once per test process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.chart.test_dockerfile import production_copies
from tests.installed.application import make_application
from tests.installed.installation import (
    ROOT,
    Installation,
    add_everything,
    add_only,
    build_wheel,
    install,
    project,
)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from this checkout."""
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def production_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the files that the Dockerfile copies for the production image."""
    source = tmp_path_factory.mktemp("source")
    for name in production_copies():
        original, copy = ROOT / name, source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if original.is_dir():
            shutil.copytree(original, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(original, copy)
    return build_wheel(source, tmp_path_factory.mktemp("production-wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An environment with the wheel and the packages of all its extras."""
    made = install(wheel, tmp_path_factory.mktemp("installed"))
    add_everything(made)
    return made


@pytest.fixture(scope="session")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An environment with the wheel and without any extra."""
    made = install(wheel, tmp_path_factory.mktemp("base"))
    add_only(made, project()["dependencies"])
    return made


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """The folder of an application whose packages are named like Clarion's folders."""
    return make_application(tmp_path / "application")
