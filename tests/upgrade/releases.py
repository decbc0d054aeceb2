"""The last released version, ready to run next to the checkout.

Its wheel is in this folder, so that every clone can run it, even without history and without a
network. `make release` replaces it by the new version's wheel. The release runs on the packages of
the checkout's installation, which Python finds after the wheel on its path.
"""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from clarion_cli.process import Program

FOLDER = Path(__file__).parent


def wheel() -> Path:
    """The wheel of the last released version."""
    found = sorted(FOLDER.glob("clarion-*.whl"))
    assert len(found) == 1, f"expected one wheel in {FOLDER}, found {[one.name for one in found]}"
    return found[0]


@dataclass(frozen=True)
class Release:
    """An unpacked wheel.

    Attributes:
        folder: contains its packages.
    """

    version: str
    folder: Path

    def module(self, service: str) -> str:
        """The module for `python -m`: ``gateway`` or ``publisher``, with or without a prefix."""
        found = [one.parent.name for one in self.folder.glob(f"*{service}/__main__.py")]
        assert len(found) == 1, f"expected one package for the {service}, found {found}"
        return found[0]

    def environment(self) -> dict[str, str]:
        """The environment in which Python finds this release before the checkout, and the gateway
        finds its example."""
        (handlers,) = self.folder.glob("*examples/chat/handlers.py")
        example = ".".join(handlers.relative_to(self.folder).with_suffix("").parts)
        return {"PYTHONPATH": str(self.folder), "GATEWAY_HANDLERS": f"{example}:handlers"}

    def program(self, program: Program) -> Program:
        """The same pod, run by this release with the same name and settings."""
        service = program.name.partition("-")[0]
        return replace(
            program,
            # -P: or the working directory, where the checkout lies, would come first.
            command=(sys.executable, "-P", "-m", self.module(service)),
            environment={**program.environment, **self.environment()},
        )


def unpack(folder: Path) -> Release:
    """Unpack the wheel into an empty folder."""
    archive = wheel()
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return Release(archive.name.split("-")[1], folder)
