"""`clarion kill`: ends a service of the running `clarion up`, without a warning."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import JsonOption, Output
from clarion_cli.state import find_state


def kill(
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="`gateway-1`, `gateway-2`, `publisher`.")
    ],
    json_: JsonOption = None,
) -> None:
    """Kill a service of the running `clarion up` with SIGKILL, as a crash would.

    `clarion up` starts it again. Clients resume, and miss nothing.
    """
    pids = find_state(Path.cwd()).pids()
    if not pids:
        raise Failure("no `clarion up` runs here", ExitCode.UNREACHABLE)
    if service not in pids:
        expected = ", ".join(pids)
        raise Failure(f"expected SERVICE to be one of {expected}, got {service!r}", ExitCode.USAGE)
    try:
        os.killpg(pids[service], signal.SIGKILL)
    except ProcessLookupError:
        raise Failure(f"{service} is just being restarted", ExitCode.UNAVAILABLE) from None
    record = {"kind": "killed", "process": service}
    Output(json_).result(record, Text(f"killed {service}"))
