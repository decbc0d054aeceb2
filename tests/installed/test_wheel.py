"""The wheel: whose names it brings, and that it is whole."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from zipfile import ZipFile

from tests.chart.test_dockerfile import NOT_IN_AN_IMAGE, production_copies
from tests.installed.installation import ROOT, build_wheel, project

PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
    "targets"
]["wheel"]["packages"]


def top_names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name.partition("/")[0] for name in archive.namelist()}


def files_of(package: str) -> set[str]:
    """A package's files as they stand in the wheel."""
    folder = ROOT / package
    return {
        str(path.relative_to(folder.parent))
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", "node_modules"} & set(path.parts)
    }


def test_every_name_that_it_brings_begins_with_clarion(wheel: Path) -> None:
    assert {name for name in top_names(wheel) if not name.startswith("clarion")} == set()


def test_it_holds_every_file_of_every_package(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == set().union(*map(files_of, PACKAGES))
    assert {"clarion/py.typed", "clarion_contract/bus/publish.lua"} <= held
    assert "clarion_dev_page/static/page.html" in held


def test_its_metadata_has_the_extras(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(name).decode().splitlines()
    extras = {line.removeprefix("Provides-Extra: ") for line in lines if "Extra: " in line}
    assert extras == project()["optional-dependencies"].keys() >= {"server", "embedded"}


def test_the_production_image_builds_it_from_what_is_copied_there(tmp_path: Path) -> None:
    """Without the bench, the example and the page: the build leaves out what is not there."""
    source = tmp_path / "source"
    for name in production_copies():
        original, copy = ROOT / name, source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if original.is_dir():
            shutil.copytree(original, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(original, copy)
    names = {name for name in top_names(build_wheel(source, tmp_path)) if "." not in name}
    absent = {"clarion_dev_page", "clarion_examples"} | {
        Path(package).name for package in NOT_IN_AN_IMAGE
    }
    assert names == {Path(package).name for package in PACKAGES} - absent
