"""The output of commands: readable text on a terminal, JSON lines in a pipe or a file.

Results go to standard output. Progress, notices and errors go to standard error, so that
``clarion … | jq`` always works. There is one exception: if standard output is a terminal, the
spinner of `clarion up` uses it, between the lines of the same console.
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
    """Standard output in the form that the user asked for.

    Attributes:
        readable: text for people; False: JSON lines for programs.
    """

    def __init__(self, json: bool | None = None) -> None:
        """Choose the form.

        Args:
            json: the value of `JsonOption`; None: text on a terminal, JSON elsewhere.
        """
        self.readable = sys.stdout.isatty() if json is None else not json
        self._console = Console()

    def result(self, record: Mapping[str, object], text: RenderableType) -> None:
        """Print ``text`` for people, or ``record`` as one line of JSON for programs."""
        if self.readable:
            self.text(text)
        else:
            print_line(msgspec.json.encode(record).decode())

    def text(self, text: RenderableType) -> None:
        """Print readable text. Long lines are not broken, so that a token can be copied."""
        self._console.print(text, soft_wrap=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[None]:
        """Show that something is in progress: a spinner on a terminal, a JSON line for programs.

        The spinner and the results share one console. Two consoles would write into each other's
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
    """Print one line at once, because a program at the other end of the pipe may wait for it."""
    print(line, flush=True)


def print_notice(message: str) -> None:
    """Print a remark on standard error, apart from the results."""
    Console(stderr=True).print(Text(message, style="dim"), soft_wrap=True)


def print_error(message: str) -> None:
    """Print on standard error why a command failed, on one line even if the message has more."""
    line = " ".join(message.split())
    Console(stderr=True).print(Text.assemble(("clarion: ", "bold red"), line), soft_wrap=True)
