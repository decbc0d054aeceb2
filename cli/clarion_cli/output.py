"""What commands print: text for people on a terminal, JSON lines for programs everywhere else.

Results go to standard output, everything said about them (progress, notices, errors) to standard
error, so that ``clarion … | jq`` always works.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import msgspec
from rich.console import Console, RenderableType
from rich.text import Text


def on_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def print_result(record: Mapping[str, object], text: RenderableType) -> None:
    """``text`` on a terminal, ``record`` as one line of JSON elsewhere."""
    if on_terminal():
        # Soft-wrapped: a token broken over two lines cannot be copied.
        Console().print(text, soft_wrap=True)
    else:
        print_line(msgspec.json.encode(record).decode())


def print_line(line: str) -> None:
    """One line, at once: whoever reads the pipe waits for it."""
    print(line, flush=True)


def print_notice(message: str) -> None:
    """A remark beside the results, on standard error."""
    Console(stderr=True).print(Text(message, style="dim"), soft_wrap=True)


def print_error(message: str) -> None:
    """Why a command failed: one line on standard error, whatever the message holds."""
    line = " ".join(message.split())
    Console(stderr=True).print(Text.assemble(("clarion: ", "bold red"), line), soft_wrap=True)
