"""JSON pointers, with the examples of RFC 6901, section 5."""

from __future__ import annotations

import pytest

from clarion_contract.events.pointers import json_pointer, path_of

PATHS = {
    "": [],
    "/foo/0": ["foo", "0"],
    "/": [""],
    "/a~1b": ["a/b"],
    "/m~0n": ["m~n"],
    "/~01": ["~1"],
    "/ ": [" "],
    "/c%d": ["c%d"],
}


@pytest.mark.parametrize("pointer", PATHS)
def test_pointers(pointer: str) -> None:
    assert path_of(pointer) == PATHS[pointer]
    assert json_pointer(*PATHS[pointer]) == pointer


def test_a_position_is_a_number() -> None:
    assert json_pointer("events", 0) == "/events/0"
