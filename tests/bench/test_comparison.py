"""A difference counts only beyond noise and tolerance."""

from __future__ import annotations

import pytest

from clarion_bench.comparison import Comparison

QUIET = [100.0, 101.0, 99.0, 100.5, 99.5]


def times(factor: float) -> list[float]:
    return [value * factor for value in QUIET]


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        (QUIET, "same"),
        (times(1.02), "same"),
        (times(1.10), "slower"),
        (times(0.90), "faster"),
    ],
)
def test_a_quiet_machine_shows_small_changes(new: list[float], verdict: str) -> None:
    assert Comparison("x", QUIET, new).verdict == verdict


def test_the_same_change_is_noise_on_a_busy_machine() -> None:
    busy = [80.0, 130.0, 100.0, 90.0, 120.0]
    result = Comparison("x", busy, [value * 1.1 for value in busy])
    assert result.change == pytest.approx(0.1)
    assert result.noise > 0.1
    assert result.verdict == "same"


def test_one_disturbed_turn_decides_nothing() -> None:
    assert Comparison("x", QUIET, [*QUIET[:-1], 900.0]).verdict == "same"


def test_a_figure_that_is_zero_is_the_same() -> None:
    assert Comparison("x", [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]).verdict == "same"
