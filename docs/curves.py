"""Reads values off measured curves, whose points are pairs of a size and a value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

Points = Sequence[Sequence[float]]
"""Pairs of size and value, sizes rising, as in docs/figures.toml."""


class Line(NamedTuple):
    """A straight line: ``start + slope * size``."""

    start: float
    slope: float


def at(points: Points, size: float) -> float:
    """The value at a size: between two points on their line, beyond the ends that of the end."""
    if size <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if size <= right:
            return low + (high - low) * (size - left) / (right - left)
    return points[-1][1]


def line(points: Points) -> Line:
    """The line with the least squared distance to the points.

    Raises:
        ValueError: there are fewer than two sizes.
    """
    if len({size for size, _ in points}) < 2:
        raise ValueError(f"expected points of two sizes or more, got {points}")
    middle = sum(size for size, _ in points) / len(points)
    mean = sum(value for _, value in points) / len(points)
    slope = sum((size - middle) * (value - mean) for size, value in points) / sum(
        (size - middle) ** 2 for size, _ in points
    )
    return Line(mean - slope * middle, slope)


def largest(points: Points) -> int:
    """The largest size that was measured."""
    return int(points[-1][0])
