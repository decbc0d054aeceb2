"""A folder with Clarion's source, and the Python that runs the services in it.

`clarion bench compare` runs two of them. The load client is always the one of this installation.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# The folders from which the services import, as in pyproject.toml's dev-mode-dirs.
_SOURCES = ("clients/python", "clients/page", "contract", "gateway", "publisher", "cli", "examples")


class CheckoutError(RuntimeError):
    """A folder is not a checkout of Clarion."""


@dataclass(frozen=True)
class Checkout:
    """The code under test.

    Attributes:
        python: the interpreter. Its installed packages are the dependencies.
        folder: the source; None: the Clarion that is installed beside the interpreter.
    """

    python: str = sys.executable
    folder: Path | None = None

    @property
    def env(self) -> Mapping[str, str]:
        """Variables that make the interpreter import from the folder first."""
        if self.folder is None:
            return {}
        paths = [str(self.folder / name) for name in _SOURCES]
        return {"PYTHONPATH": os.pathsep.join(paths)}


INSTALLED = Checkout()


def checkout(folder: Path, python: Path | None = None) -> Checkout:
    """Return the checkout in a folder.

    Args:
        python: None: that of the checkout's own `.venv`; without one, the Python that runs this.

    Raises:
        CheckoutError: the folder holds no services, or the Python is not a file.
    """
    folder = folder.resolve()
    for service in ("gateway/clarion_gateway", "publisher/clarion_publisher"):
        if not (folder / service).is_dir():
            raise CheckoutError(f"expected a checkout of Clarion, found no {service} in {folder}")
    own = folder / ".venv" / "bin" / "python"
    if python is None:
        return Checkout(str(own) if own.exists() else sys.executable, folder)
    if not python.is_file():
        raise CheckoutError(f"expected a Python, found no file {python}")
    return Checkout(str(python.absolute()), folder)
