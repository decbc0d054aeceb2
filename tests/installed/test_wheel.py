"""The wheel installs only Clarion's own names, and it is complete."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from clarion_cli.failure import ExitCode
from tests.chart.test_dockerfile import NOT_IN_AN_IMAGE
from tests.installed.installation import ROOT, Installation, add_everything, install, project

pytestmark = pytest.mark.timeout(300)

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
    assert {
        "clarion/py.typed",
        "clarion_gateway/py.typed",
        "clarion_contract/bus/publish.lua",
    } <= held
    assert "clarion_dev_page/static/page.html" in held


def test_its_metadata_has_the_extras(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(name).decode().splitlines()
    extras = {line.removeprefix("Provides-Extra: ") for line in lines if "Extra: " in line}
    assert extras == project()["optional-dependencies"].keys() >= {"server", "embedded"}


def test_the_production_image_builds_it_from_what_is_copied_there(production_wheel: Path) -> None:
    """Without the bench, the example and the page: the build leaves out missing folders."""
    names = {name for name in top_names(production_wheel) if "." not in name}
    absent = {"clarion_dev_page", "clarion_examples"} | {
        Path(package).name for package in NOT_IN_AN_IMAGE
    }
    assert names == {Path(package).name for package in PACKAGES} - absent


def test_the_command_does_without_what_the_production_image_has_not(
    production_wheel: Path, tmp_path: Path
) -> None:
    """`clarion up` mounts no example, and `clarion bench` says why it cannot run."""
    installation = install(production_wheel, tmp_path / "production")
    add_everything(installation)
    code = "from clarion_cli.up import default_handlers; print(repr(default_handlers()))"
    done = installation.run("python", "-c", code, cwd=tmp_path)
    assert done.stdout == "''\n", done.stderr
    done = installation.run("clarion", "bench", "fanout", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.SETUP, "")
    assert done.stderr == "clarion: the benchmarks are not in this installation of Clarion\n"


TYPED = """
from clarion import Context, Handlers, authenticated_only, propagate, user
from clarion.testing import ask

handlers = Handlers()


@handlers.on("note", authenticated_only(), propagate(to="all"))
async def note(message: str, context: Context) -> str:
    await context.publish(user("alice"), "note", message)
    return (await ask(handlers, "note", message)).published[0].type
"""
MISTAKES = """
from clarion import Handlers, propagate, user

Handlers(threads="many")
propagate(to=3)
user(4)
"""


def test_an_applications_type_checker_sees_its_types(
    installed: Installation, tmp_path: Path
) -> None:
    """This includes the types that `clarion` takes from Clarion's other packages."""
    (tmp_path / "right.py").write_text(TYPED)
    (tmp_path / "wrong.py").write_text(MISTAKES)
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache",
            "--python-executable", installed.python, "right.py", "wrong.py",
        ],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    places = [line.rpartition(": error: ")[0] for line in done.stdout.splitlines()]
    assert places == ["wrong.py:4", "wrong.py:5", "wrong.py:6", ""], done.stdout + done.stderr
