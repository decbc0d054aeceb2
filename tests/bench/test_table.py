"""Tables fit a terminal and show every failure."""

from __future__ import annotations

import io

from rich.console import Console

from clarion_bench.table import tables
from tests.bench.test_results import report


def shown() -> str:
    screen = io.StringIO()
    console = Console(width=80, file=screen)
    for table in tables(report()):
        console.print(table)
    return screen.getvalue()


def test_every_figure_fits_eighty_columns() -> None:
    text = shown()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_server_that_fell_behind_is_named_so() -> None:
    (line,) = [line for line in shown().splitlines() if "late" in line]
    assert line.split()[0] == "ws"
    assert "1.6 M late" in line
