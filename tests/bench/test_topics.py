"""A small run of the bench of topics: a real Redis, a real gateway, and every delivery counted."""

from __future__ import annotations

import pytest

from clarion_bench.laboratory import laboratory
from clarion_bench.topic_figure import TopicFigure
from clarion_bench.topics import TopicsOptions, topics


def test_every_part_yields_its_figures() -> None:
    """A delivery that is missing would be a `LoadError`."""
    options = TopicsOptions(
        sockets=40, single=40, subscribers=20, returning=40, texts=10, turns=1, seconds=1.0
    )
    announced: list[str] = []
    with laboratory() as bench:
        figures = list(topics(options, bench, announced.append))
    assert len(announced) == 5
    assert len(figures) == 9
    assert all(value > 0 for figure in figures for value in figure.values if figure.aim != 250)
    (reads,) = [figure for figure in figures if "back" in figure.figure]
    assert reads.values[0] in {1.0, 2.0}


@pytest.mark.parametrize(
    ("values", "beside", "at_least", "reached"),
    [
        ([3.0, 30.0, 3.0], [2.0, 20.0, 4.0], False, True),
        ([4.0, 40.0, 4.0], [2.0, 20.0, 4.0], False, False),
        ([4.0, 4.0], [], True, True),
        ([1.0, 1.0], [], True, False),
    ],
)
def test_the_aim_bounds_the_median_of_the_ratios_or_of_the_values(
    values: list[float], beside: list[float], at_least: bool, reached: bool
) -> None:
    assert TopicFigure("a figure", values, beside, 1.5, at_least).reached is reached
