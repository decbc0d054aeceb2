"""Virtual environments with the built wheel, made without any download."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

from tests.cli.clarion import environment

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 150


@dataclass(frozen=True)
class Installation:
    """A Python environment with Clarion.

    Attributes:
        python: its interpreter.
    """

    python: Path

    def script(self, name: str) -> str:
        """The path of a console script."""
        return str(self.python.with_name(name))

    def run(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run one of its programs; a name without a slash is a console script."""
        program, *rest = arguments
        return subprocess.run(
            [self.script(program), *rest],
            cwd=cwd,
            env=environment(PYTHONPATH=""),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


CHECKOUT: Final = Installation(Path(sys.executable))


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of a source tree, with the project's build backend as installed here."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-index",
            "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source,
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("clarion-*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Installation:
    """A new environment with the wheel and nothing else."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", folder], timeout=SECONDS, check=True
    )
    installation = Installation(folder / "bin" / "python")
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", installation.python, "install",
            "--disable-pip-version-check", "--no-index", "--no-deps", "--no-compile", wheel,
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return installation


def site_packages(installation: Installation) -> Path:
    (found,) = installation.python.parents[1].glob("lib/python*/site-packages")
    return found


def add_everything(installation: Installation) -> None:
    """Let an environment see all packages of this one.

    A line of a .pth file names a folder, but .pth files in that folder are not read. The checkout
    is installed here by such a file, so the environment does not see it.
    """
    folders = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (site_packages(installation) / "others.pth").write_text("\n".join(folders) + "\n")


def add_only(installation: Installation, requirements: Iterable[str]) -> None:
    """Let an environment see the packages of these requirements, and no others of this one."""
    target = site_packages(installation)
    for name in closure(requirements):
        distribution = metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            source = Path(str(distribution.locate_file(top)))
            if not (target / top).exists():
                (target / top).symlink_to(source)


def closure(requirements: Iterable[str]) -> set[str]:
    """The names of the distributions that these requirements need, among those installed here."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if (name := requirement.name.lower()) in found and extras == {""}:
            continue
        found.add(name)
        for line in metadata.requires(requirement.name) or ():
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in extras
            ):
                needed.marker = None
                waiting.append(needed)
    return found
