"""docs/architecture.md lists every module in the row of its folder."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def listed(package: str) -> set[str]:
    """The files that the package's table names, as paths or patterns below the package."""
    section = PAGE.partition(f"\n### {package}\n")[2].partition("\n### ")[0]
    room = ""
    files = set()
    for row in section.splitlines():
        if row.startswith(("| |", "| `")):
            folder, names = (cell.strip() for cell in row.split("|")[1:3])
            room = folder.strip("`") or room
            files |= {room + name for name in re.findall(r"`([^`]+)`", names)}
    return files


@pytest.mark.parametrize("package", ["contract", "gateway", "publisher"])
def test_the_page_lists_every_module_and_no_other(package: str) -> None:
    folder = ROOT / package / f"clarion_{package}"
    modules = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.*")
        if path.suffix in {".py", ".lua", ".sql", ".json"}
        and not path.name.startswith("__")
        and "dev" not in path.relative_to(folder).parts
    }
    rows = listed(package)

    assert {name for name in modules if not any(fnmatch(name, row) for row in rows)} == set()
    assert {row for row in rows if not any(fnmatch(name, row) for name in modules)} == set()
