"""Values between measured points lie on their line, and none is invented beyond the ends."""

from __future__ import annotations

import pytest

from docs.curves import at, largest, line

CURVE = [[500, 12.0], [1_000, 11.0], [2_000, 10.0]]


@pytest.mark.parametrize(
    ("size", "value"),
    [(10, 12.0), (500, 12.0), (750, 11.5), (1_000, 11.0), (1_900, 10.1), (20_000, 10.0)],
)
def test_a_value_lies_between_its_neighbours(size: float, value: float) -> None:
    assert at(CURVE, size) == pytest.approx(value)


def test_a_single_point_holds_for_every_size() -> None:
    assert at([[2_000, 11.7]], 14_000) == 11.7


def test_the_line_has_the_least_squared_distance() -> None:
    """Of 1, 2 and 3 gateways; the middle point lies 3 above the ends' line."""
    assert line([[1, 10.0], [2, 14.0], [3, 12.0]]) == pytest.approx((10.0, 1.0))


def test_one_size_has_no_line() -> None:
    with pytest.raises(ValueError, match="two sizes"):
        line([[1, 10.0], [1, 11.0]])


def test_the_largest_size_is_that_of_the_last_point() -> None:
    assert largest(CURVE) == 2_000
