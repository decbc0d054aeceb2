"""An application whose own packages have the names of folders and modules in this repository."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
HANDLERS: Final = "gateway.live:handlers"

_LIVE: Final = '''
"""The application's handlers, in a package of its own that is called `gateway`."""

from clarion import Context, Handlers, propagate

handlers = Handlers()


@handlers.on("greeting", propagate(to="all"))
async def greet(name: str, context: Context) -> dict[str, str]:
    return {"hello": name}
'''


def taken_names() -> set[str]:
    """Names that an application may have too: this repository's folders, and the modules in its
    packages.

    Names of the standard library and of installed packages are left out. An application with a
    package called `redis` breaks every package that imports redis.
    """
    packages = {path.parent for path in ROOT.glob("*/clarion_*/__init__.py")}
    packages |= {path.parent for path in ROOT.glob("clients/*/clarion*/__init__.py")}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    modules = {path.stem for package in packages for path in package.iterdir()}
    foreign = set(metadata.packages_distributions()) | set(sys.stdlib_module_names)
    return {
        name
        for name in folders | modules
        if name.isidentifier() and not name.startswith(("_", "clarion")) and name not in foreign
    }


def make_application(folder: Path) -> Path:
    """A folder whose packages raise when they are imported, except the one with the handlers."""
    for name in taken_names() - {"gateway"}:
        package = folder / name
        package.mkdir(parents=True)
        trap = f"raise AssertionError('expected nobody to import the application\\'s own {name}')\n"
        (package / "__init__.py").write_text(trap)
    (folder / "gateway").mkdir()
    (folder / "gateway" / "__init__.py").touch()
    (folder / "gateway" / "live.py").write_text(_LIVE)
    return folder
