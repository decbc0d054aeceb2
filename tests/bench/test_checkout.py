"""A checkout's own code runs, whatever is installed beside the interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clarion_bench.checkout import INSTALLED, CheckoutError, checkout


def made(folder: Path) -> Path:
    """A checkout whose gateway prints where it comes from."""
    for service in ("gateway", "publisher"):
        package = folder / service / f"clarion_{service}"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text("print(__file__)")
    return folder


def test_the_folder_comes_before_the_installed_packages(tmp_path: Path) -> None:
    code = checkout(made(tmp_path))
    printed = subprocess.run(
        [code.python, "-m", "clarion_gateway"],
        env={**os.environ, **code.env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(printed.stdout.strip()).is_relative_to(tmp_path.resolve())


def test_without_a_venv_this_python_runs(tmp_path: Path) -> None:
    assert checkout(made(tmp_path)).python == sys.executable


def test_a_venv_of_its_own_runs_a_checkout(tmp_path: Path) -> None:
    python = made(tmp_path) / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert checkout(tmp_path).python == str(python.absolute())
    assert checkout(tmp_path, Path(sys.executable)).python == sys.executable


def test_another_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match="expected a checkout of Clarion, found no gateway"):
        checkout(tmp_path)


def test_a_python_that_is_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match="expected a Python, found no file"):
        checkout(made(tmp_path), tmp_path / "python3")


def test_the_installed_code_needs_no_variables() -> None:
    assert INSTALLED.env == {}
