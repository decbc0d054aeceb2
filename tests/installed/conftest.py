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
    """Built from this checkout."""
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def production_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what the Dockerfile copies for the production image."""
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
    """The wheel with all that its extras bring."""
    made = install(wheel, tmp_path_factory.mktemp("installed"))
    add_everything(made)
    return made


@pytest.fixture(scope="session")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel without any extra."""
    made = install(wheel, tmp_path_factory.mktemp("base"))
    add_only(made, project()["dependencies"])
    return made


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A folder of an application with names of its own that Clarion's folders have too."""
    return make_application(tmp_path / "application")
