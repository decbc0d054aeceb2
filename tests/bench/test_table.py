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


def test_an_outbox_shows_its_rate_its_cost_and_its_latency() -> None:
    (line,) = [line for line in shown().splitlines() if "45,000" in line]
    assert line.split()[:6] == ["45,000", "8,000", "30.0", "200", "9.0", "55.0"]


def test_an_upstream_shows_what_others_feel_while_it_hangs() -> None:
    (line,) = [line for line in shown().splitlines() if "2,600" in line]
    assert line.split()[:6] == ["2,600", "370.0", "31.0", "12.0", "15.0", "1.25"]


def test_a_figure_of_topics_shows_its_ratio_and_its_aim() -> None:
    (line,) = [line for line in shown().splitlines() if "one topic of 2,000" in line]
    assert line.split()[-8:] == ["µs", "2.95", "2.85", "1.04", "≤", "1.15", "0", "%"]


def test_a_figure_that_misses_its_aim_says_so() -> None:
    (line,) = [line for line in shown().splitlines() if "10,000 topics of one" in line]
    assert line.split()[-8:] == ["31,200", "32,900", "0.95", "✗", "≥", "1", "0", "%"]


def test_a_server_that_fell_behind_is_named_so() -> None:
    (line,) = [line for line in shown().splitlines() if "late" in line]
    assert line.split()[0] == "ws"
    assert "1.6 M late" in line
