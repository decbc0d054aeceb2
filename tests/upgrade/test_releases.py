"""The wheel next to this file is the released one, and runs instead of the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.clarion import ROOT, environment
from tests.upgrade.releases import unpack, wheel

# Releases that were made before there were tags.
_COMMITS = {"0.1.0": "ec3ef81"}


def committed(commit: str, path: str) -> bytes | None:
    done = subprocess.run(
        ["git", "show", f"{commit}:{path}"], cwd=ROOT, capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def test_the_wheel_holds_what_was_committed() -> None:
    """Byte for byte, if the history is there; a shallow clone lacks it."""
    version = wheel().name.split("-")[1]
    commit = _COMMITS.get(version, f"v{version}")
    if committed(commit, "pyproject.toml") is None:
        pytest.skip(f"{commit} is not in this clone")
    with zipfile.ZipFile(wheel()) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        differing = [name for name in names if _source(commit, name) != archive.read(name)]
    assert len(names) > 100
    assert differing == []


def _source(commit: str, name: str) -> bytes | None:
    """A file of the wheel as it was in the repository: at the top, or one folder down."""
    package = name.partition("/")[0]
    folder = package.partition("_")[2]
    return committed(commit, name) or committed(commit, f"{folder}/{name}")


@pytest.mark.parametrize("service", ["gateway", "publisher"])
def test_the_release_runs_its_own_code(tmp_path: Path, service: str) -> None:
    """Otherwise the rolling upgrade would compare the checkout with itself."""
    release = unpack(tmp_path)
    module = release.module(service)
    code = f"import importlib.util; print(importlib.util.find_spec({module!r}).origin)"
    origin = subprocess.check_output(
        [sys.executable, "-P", "-c", code],
        cwd=ROOT,
        env=environment(**release.environment()),
        text=True,
    )
    assert tmp_path in Path(origin).parents
