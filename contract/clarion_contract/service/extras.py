"""Says which extra is missing, in one line, where a program's packages are not installed.

The base installation brings what `import clarion` needs and no more. Both services and the command
line need the extra ``server``. This module imports the standard library alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OWN_PREFIX = "clarion"


@contextmanager
def needing(extra: str, *, program: str, exit_code: int = 1) -> Iterator[None]:
    """Stands around the imports of a program.

        with needing("server", program="gateway"):
            from clarion_gateway.server import main

    Raises:
        SystemExit: with ``exit_code``; a package of somebody else's is missing, and a line on
            standard error names it.
        ModuleNotFoundError: a module of Clarion's own is missing. No extra would bring it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(_OWN_PREFIX):
            raise
        print(
            f"{program}: the module {error.name} is missing; Clarion's extra `{extra}` installs it",
            file=sys.stderr,
        )
        sys.exit(exit_code)
