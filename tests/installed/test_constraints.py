"""constraints.txt pins versions that every supported Python can install, also the oldest."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from deploy.audit import CONSTRAINTS
from tests.installed.installation import project


def test_the_oldest_python_can_install_every_pinned_version() -> None:
    """Debian 12 has Python 3.11.2. A version that needs 3.11.5 makes `make test` fail there."""
    oldest = f"{str(project()['requires-python']).removeprefix('>=')}.0"
    lines = CONSTRAINTS.read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    installed = {
        pin: found
        for pin in pins
        for found in metadata.distributions(name=pin.name)
        if found.version in pin.specifier
    }
    assert {"pytest", "mkdocs-material", "redis"} <= {pin.name for pin in installed}
    too_new = [
        f"{pin} needs Python {needed}"
        for pin, found in installed.items()
        if "Requires-Python" in found.metadata
        and oldest not in SpecifierSet(needed := found.metadata["Requires-Python"])
    ]
    assert not too_new
