"""The plot shows the report's figures, and which servers fell behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from clarion_bench.plot import charts, draw
from clarion_bench.results import Report
from tests.bench.test_results import MACHINE, report


def test_a_chart_for_each_figure() -> None:
    titles = [chart.title.partition("\n")[0] for chart in charts(report())]
    assert titles == [
        "CPU µs per delivery",
        "p99 publish to receipt, ms",
        "Deliveries/s on one core",
        "KB per idle connection",
        "CPU µs per handshake",
    ]


def test_falling_behind_is_marked() -> None:
    bars = {bar.server: bar for bar in charts(report())[0].bars}
    assert bars["ws"].note == "falls behind"
    assert bars["clarion"].note == ""


def test_files_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = [tmp_path / "plot.png", tmp_path / "plot.svg"]
    assert draw(report(), paths)
    assert all(path.stat().st_size > 10_000 for path in paths)


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    assert not draw(Report(MACHINE), [tmp_path / "plot.png"])
