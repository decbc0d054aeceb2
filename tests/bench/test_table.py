"""Tables fit a terminal and show every failure."""

from __future__ import annotations

import io
from dataclasses import replace

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


def test_single_events_show_the_first_and_the_last_socket_and_the_reader() -> None:
    (line,) = [line for line in shown().splitlines() if "uWS, deflate" in line]
    assert line.split()[2:] == ["200", "0.41", "2.50", "12.34", "145.67", "6.10", "2/3/0"]


def test_the_title_names_the_size_of_larger_events() -> None:
    (line,) = [line for line in shown().splitlines() if "One event" in line]
    assert line.strip() == "One event to 2,000 sockets"
    larger = replace(report(), trials=[replace(report().trials[0], event_bytes=1_500)])
    (table,) = [table for table in tables(larger) if "One event" in str(table.title)]
    assert table.title == "One event of 1,500 bytes to 2,000 sockets"


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
    (line,) = [line for line in shown().splitlines() if " late" in line]
    assert line.split()[0] == "ws"
    assert "1.6 M late" in line
