"""A small run of the growth curves: a real Redis, real gateways, and every delivery counted."""

from __future__ import annotations

import io
import math
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from clarion_bench.busy import Busy
from clarion_bench.growth import GrowthOptions, costs, growth
from clarion_bench.growth.sizes import sizes
from clarion_bench.growth_points import (
    GatewaysPoint,
    Growth,
    SocketsPoint,
    StreamsPoint,
)
from clarion_bench.growth_tables import constants, growth_tables
from clarion_bench.laboratory import laboratory
from clarion_bench.plot import curves, draw
from clarion_bench.results import Report, read, write
from docs.figures import FIGURES
from tests.bench.test_results import MACHINE

BUSY = Busy(0.5, 0.4, 0.02)


def curve_of_each() -> Growth:
    return Growth(
        sockets=[
            SocketsPoint(500, 500, 2.0, 1_000.0, 12.346, 3.0, 3.75, 9.0, BUSY),
            SocketsPoint(20_000, 19_800, 2.0, 39_600.0, 11.5, 90.0, 3.5, 240.0, BUSY),
        ],
        gateways=[
            GatewaysPoint(1, 20, 200.0, 75.0, 55.06, 210.0, 300.0, 15.0, BUSY),
            GatewaysPoint(8, 20, 200.0, 82.0, 62.8, 212.0, 301.0, 15.05, Busy(0.5, 0.4, 0.3)),
        ],
        streams=[
            StreamsPoint(10, 10, 500.0, 4_700.4, 33.0, 54.0, BUSY),
            StreamsPoint(100_000, 4_000, 500.0, 4_552.0, 36.0, 56.0, BUSY),
        ],
    )


def test_every_curve_yields_its_points() -> None:
    """A delivery that is missing would be a `LoadError`."""
    options = GrowthOptions(sockets=40, gateways=2, streams=20, seconds=0.5)
    announced: list[str] = []
    with laboratory() as bench:
        one, *pods, few, more = growth(options, bench, announced.append)
    assert len(announced) == 5
    assert isinstance(one, SocketsPoint)
    assert (one.asked, one.sockets) == (40, 40)
    assert one.deliveries_per_second > 0
    assert one.p99_ms > 0
    assert [each.gateways for each in pods if isinstance(each, GatewaysPoint)] == [1, 2]
    assert isinstance(few, StreamsPoint)
    assert isinstance(more, StreamsPoint)
    assert [(each.streams, each.subscribed) for each in (few, more)] == [(10, 10), (20, 20)]
    # A stream of a user holds at least its event.
    assert more.bytes_per_stream > 150


def test_a_curve_that_is_not_asked_for_is_left_out() -> None:
    options = GrowthOptions(sockets=0, gateways=0, streams=0)
    with laboratory() as bench:
        assert list(growth(options, bench, lambda _: None)) == []


def test_more_sockets_than_files_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may open 545 files here; 33 are for clients, and 3 of these for handshakes."""
    monkeypatch.setattr("clarion_bench.growth.raise_file_limit", lambda: 545)
    with laboratory() as bench:
        (point,) = growth(GrowthOptions(40, 0, 0, 0.5), bench, lambda _: None)
    assert isinstance(point, SocketsPoint)
    assert (point.asked, point.sockets) == (40, 30)


@pytest.mark.parametrize(
    ("largest", "expected"), [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8])]
)
def test_the_largest_size_is_the_last_point(largest: int, expected: list[int]) -> None:
    assert sizes((1, 2, 4, 8), largest) == expected


def spent(at: float, cpu: float, deliveries: int) -> costs.Spent:
    return costs.Spent(at, cpu, cpu / 2, cpu / 4, 0.0, cpu * 2, deliveries, [1_000_000])


def test_the_cost_of_events_is_above_that_of_as_long_a_time_without() -> None:
    """0.1 s of CPU in 2 quiet seconds are 0.2 s in 4; of 0.5 s, 0.3 s remain for 100 events."""
    found = costs.between(spent(0.0, 1.0, 0), spent(2.0, 1.1, 0), spent(6.0, 1.6, 800), 100)
    assert found.gateways_us == pytest.approx(3_000)
    assert found.redis_us == pytest.approx(1_500)
    assert found.publishing_us == pytest.approx(750)
    assert found.idle_ms_per_second == pytest.approx(50)
    assert found.deliveries_per_second == pytest.approx(200)
    assert found.busy.server == pytest.approx(0.125)


def test_tables_fit_eighty_columns_and_say_what_was_capped() -> None:
    screen = io.StringIO()
    for table in growth_tables(curve_of_each()):
        Console(width=80, file=screen).print(table)
    text = screen.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "19,800 instead of 20,000" in text
    (line,) = [line for line in text.splitlines() if line.lstrip().startswith("100,000")]
    assert line.split() == ["100,000", "4,000", "4,552", "36.0", "56.0", "50/40/2"]


def test_the_constants_are_a_table_of_figures() -> None:
    """Each stands in docs/figures.toml under its name; one more, `redis_us`, was measured by hand."""
    printed = tomllib.loads(constants(curve_of_each()))["growth"]
    assert printed.keys() == FIGURES["growth"].keys() - {"redis_us"}
    assert printed == {
        "delivery_us": [[500, 12.35], [19_800, 11.5]],
        "socket_bytes": [[500, 3_840], [19_800, 3_584]],
        "redis_single_us": [[1, 75.0], [8, 82.0]],
        "redis_batched_us": [[1, 55.1], [8, 62.8]],
        "gateway_us": [[1, 300], [8, 301]],
        "stream_bytes": [[10, 4_700], [100_000, 4_552]],
        "targeted_us": [[10, 33.0], [100_000, 36.0]],
    }
    assert constants(Growth()) == ""


def test_a_report_with_curves_survives_a_file(tmp_path: Path) -> None:
    report = Report(MACHINE, growth=curve_of_each())
    write(report, tmp_path / "growth.json")
    assert read(tmp_path / "growth.json") == report
    assert math.isclose(report.others_busy, 0.3)
    assert report.disturbed


def test_each_curve_is_drawn(tmp_path: Path) -> None:
    drawn = curves(curve_of_each())
    assert [len(curve.points) for curve in drawn] == [2] * 9
    assert drawn[3].points == [(1, 75.0), (8, 82.0)]
    assert drawn[3].second == [(1, 55.06), (8, 62.8)]
    pytest.importorskip("matplotlib")
    paths = [tmp_path / "plot.png", tmp_path / "plot.svg"]
    assert draw(Report(MACHINE, growth=curve_of_each()), paths)
    assert all(path.stat().st_size > 10_000 for path in paths)
