"""The kinds and texts of refusals."""

from __future__ import annotations

from clarion_publisher.ingestion import refusal
from clarion_publisher.ingestion.refusal import KINDS, FieldError, Kind, invalid_event


def test_every_kind_stands_in_the_table() -> None:
    declared = [value for value in vars(refusal).values() if isinstance(value, Kind)]
    assert list(KINDS) == declared
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_details_count_further_errors() -> None:
    one, two = FieldError("/a", "x", "y"), FieldError("", "x", "y")
    assert invalid_event(one).detail == "expected x at /a, got y"
    assert invalid_event(two, one).detail == "expected x at the root, got y, and 1 more"
