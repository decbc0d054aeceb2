"""Shows a local stack: the progress of its start, what is up, and the logs of its processes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from rich.console import Console, RenderableType
from rich.text import Text

from clarion_cli.output import Output, print_error

NAME_WIDTH: Final = len("gateway-10")
_COLOURS: Final = ("cyan", "green", "magenta", "yellow", "blue")


class Screen:
    """Shows the stack: results on standard output, the processes' logs on standard error."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self._console = Console(stderr=True)
        self._colours: dict[str, str] = {}
        self._kept_back: list[tuple[str, str]] = []
        self._relays = False

    def ready(self, name: str, seconds: float) -> None:
        """Show that one more process is ready."""
        text = Text.assemble(
            ("  ready  ", "green"), f"{name:{NAME_WIDTH}}", (f"  {seconds:.1f} s", "dim")
        )
        self.output.result({"kind": "ready", "process": name, "seconds": round(seconds, 3)}, text)

    def ended(self, name: str, exit_code: int | None) -> None:
        """Show that a process ended by itself and is started again."""
        text = Text.assemble((" restart ", "yellow"), f"{name:{NAME_WIDTH}}  exit code {exit_code}")
        self.output.result({"kind": "restarting", "process": name, "exit_code": exit_code}, text)

    def line(self, name: str, line: str) -> None:
        """A log line of a process. Printed while the stack is up; before, kept for `explain`."""
        if self._relays:
            self._print(name, line)
        else:
            self._kept_back.append((name, line))

    def explain(self, failed: str) -> None:
        """Print what the process ``failed`` logged, because the start failed."""
        for name, line in self._kept_back:
            if name == failed:
                self._print(name, line)

    def up(self, record: dict[str, object], text: RenderableType) -> None:
        """Everything is ready; logs are relayed from now on."""
        self.output.result(record, text)
        self._kept_back.clear()
        self._relays = True

    def reloading(self, files: Collection[str]) -> None:
        """Show that the gateways restart because these files have changed."""
        text = Text.assemble(("reloading ", "yellow"), ", ".join(files))
        self.output.result({"kind": "reloading", "files": list(files)}, text)

    def not_reloaded(self, why: str) -> None:
        """Say why the new code does not start; what runs goes on."""
        print_error(f"{why}; waiting for the next change")

    def stopping(self) -> None:
        """Drop log lines from now on: the processes will only log that they stop."""
        self._relays = False

    def _print(self, name: str, line: str) -> None:
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        prefix = Text(f"{name:{NAME_WIDTH}} | ", style=colour)
        self._console.print(prefix + Text.from_ansi(line), soft_wrap=True)
