"""Each module can be imported first: a circle of imports shows only in some orders."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import clarion_bench

_FIRST = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    for each in [each for each in sys.modules if each.startswith("clarion_bench")]:
        del sys.modules[each]
"""


def test_each_module_can_be_imported_first() -> None:
    names = [
        each.name
        for each in pkgutil.walk_packages(clarion_bench.__path__, "clarion_bench.")
        if not each.name.endswith("__main__") and ".peers" not in each.name
    ]
    done = subprocess.run(
        [sys.executable, "-c", _FIRST, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
