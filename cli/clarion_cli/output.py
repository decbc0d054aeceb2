"""What commands print: readable text on a terminal, JSON lines in a pipe or a file.

Results go to standard output. Progress, notices and errors go to standard error, so that
``clarion … | jq`` always works. The one exception is the spinner of `clarion up`: it stands on
standard output, in the lines of the same console, and only where that is a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.text import Text

JsonOption = Annotated[
    bool | None,
    typer.Option(
        "--json/--text",
        help="Print JSON lines, or readable text. Default: text on a terminal, JSON elsewhere.",
        show_default=False,
    ),
]


class Output:
    """Standard output, in the form that a command was asked for.

    Attributes:
        readable: text for people; False: JSON lines for programs.
    """

    def __init__(self, json: bool | None = None) -> None:
        """Choose the form.

        Args:
            json: as `JsonOption` says; None: text on a terminal, JSON elsewhere.
        """
        self.readable = sys.stdout.isatty() if json is None else not json
        self._console = Console()

    def result(self, record: Mapping[str, object], text: RenderableType) -> None:
        """``text`` for people, ``record`` as one line of JSON for programs."""
        if self.readable:
            self.text(text)
        else:
            print_line(msgspec.json.encode(record).decode())

    def text(self, text: RenderableType) -> None:
        """Readable text. A long line is not broken: a token on two lines cannot be copied."""
        self._console.print(text, soft_wrap=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[None]:
        """Say what is under way: a spinner on a terminal, a JSON line for programs.

        The spinner shares the console with the results. Two consoles would write into each other's
        lines.
        """
        if not self.readable:
            print_line(msgspec.json.encode({"kind": what}).decode())
            yield
        elif self._console.is_terminal:
            with self._console.status(f"{what} …"):
                yield
        else:
            self.text(f"{what} …")
            yield


def print_line(line: str) -> None:
    """One line, written at once: a program at the other end of the pipe may wait for it."""
    print(line, flush=True)


def print_notice(message: str) -> None:
    """A remark beside the results, on standard error."""
    Console(stderr=True).print(Text(message, style="dim"), soft_wrap=True)


def print_error(message: str) -> None:
    """Why a command failed: one line on standard error, whatever the message holds."""
    line = " ".join(message.split())
    Console(stderr=True).print(Text.assemble(("clarion: ", "bold red"), line), soft_wrap=True)
