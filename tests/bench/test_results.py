"""Results are the same after writing and reading a file; percentiles are the nearest rank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from clarion_bench.busy import Busy
from clarion_bench.comparison import Comparison
from clarion_bench.results import (
    Idle,
    Machine,
    Outbox,
    Publishing,
    Report,
    Tail,
    Trial,
    Upstream,
    percentile,
    read,
    write,
)
from clarion_bench.topic_figure import TopicFigure

MACHINE = Machine(
    time="2026-01-01T00:00:00+00:00",
    command="clarion bench fanout",
    cpu="a cpu",
    cores=2,
    pinned=True,
    kernel="Linux",
    python="3.11",
    node=None,
    redis="Valkey 9",
    python_packages={"redis": "8"},
    node_packages={"redis": "6"},
)


def fanout(server: str, rate: float | None, *, kept_up: bool = True) -> Trial:
    return Trial(
        server=server,
        sockets=2_000,
        recipients=2_000,
        seconds=10.0,
        offered_per_second=rate,
        deliveries_per_second=40_000.0,
        cpu_us_per_delivery=5.0,
        p50_ms=1.0,
        p99_ms=9.0,
        frame_bytes=200,
        complete=kept_up,
        kept_up=kept_up,
        missing=0 if kept_up else 1_600_000,
        misordered=0,
        closed=0,
        busy=Busy(0.5, 0.5, 0.0),
    )


def report() -> Report:
    idle = Idle("clarion", 10_000, 4_000.0, 240.0, 5.7, Busy(0.97, 0.4, 0.0))
    results = [fanout("clarion", 200.0), fanout("ws", 200.0, kept_up=False), fanout("ws", None)]
    outbox = Outbox(45_000, 8_000.0, 30.0, 200.0, 9.0, 55.0, Busy(0.5, 0.4, 0.0))
    upstream = Upstream(64, 2_600.0, 370.0, 31.0, 0, 300, 12.0, 15.0, Busy(0.9, 0.6, 0.0))
    publishing = Publishing(
        "centrifugo", 1_000, 64, 10.0, 38_600.0, 386_000.0, 26.4, 12.1, 40.2, 0, Busy(1.0, 0.4, 0.0)
    )
    tail = Tail("uws-deflate", 2_000, 200, 0.41, 2.5, 12.34, 145.67, 6.1, Busy(0.02, 0.03, 0.0))
    comparison = Comparison("publish, 100 a request: CPU µs", [100.0] * 5, [120.0] * 5)
    topics = [
        TopicFigure("one topic of 2,000, 150/s: µs", [2.8, 3.1], [2.7, 3.0], 1.15),
        TopicFigure(
            "10,000 topics of one: events/CPU s", [31_200.0], [32_900.0], 1.0, at_least=True
        ),
        TopicFigure("subscribes/CPU s, topics of one", [9_000.0], [], 10_000, at_least=True),
    ]
    return Report(
        MACHINE,
        idle=[idle],
        trials=results,
        tails=[tail],
        publishing=[publishing],
        outbox=[outbox],
        upstream=[upstream],
        comparisons=[comparison],
        topics=topics,
    )


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_percentile(share: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 0.99) == 0.0


def test_a_report_survives_a_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(report(), path)
    assert read(path) == report()


def test_a_file_of_another_shape_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"machine": 1}')
    with pytest.raises(msgspec.ValidationError):
        read(path)


def test_a_report_of_before_larger_events_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(report(), path)
    path.write_text(path.read_text().replace('"event_bytes": 160', '"an_older_field": 1'))
    assert read(path) == report()
    assert {trial.event_bytes for trial in read(path).trials} == {160}


def test_a_report_says_whether_other_programs_disturbed_it() -> None:
    quiet = report()
    noisy = replace(quiet, trials=[replace(quiet.trials[0], busy=Busy(0.5, 0.5, 0.4))])
    assert not quiet.disturbed
    assert noisy.disturbed
    assert noisy.others_busy == 0.4
