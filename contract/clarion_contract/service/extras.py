"""Says in one line which extra to install, if a program's packages are missing.

The base installation brings only what `import clarion` needs. Both services and the command line
need the extra ``server``. This module imports only the standard library.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OWN_PREFIX = "clarion"


@contextmanager
def needing(extra: str, *, program: str, exit_code: int = 1) -> Iterator[None]:
    """Wrap this around the imports of a program.

        with needing("server", program="gateway"):
            from clarion_gateway.server import main

    Raises:
        SystemExit: with ``exit_code``, if a package that is not Clarion's is missing. A line on
            standard error names the package and the extra.
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
