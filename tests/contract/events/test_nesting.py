"""`clarion_contract.events.nesting`: how deep JSON text is nested, whatever its strings hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.nesting import LEVELS_MAX, check_nesting

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}\\"aé', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def nested(levels: int, inner: str = "") -> bytes:
    return ("[" * levels + inner + "]" * levels).encode()


def is_refused(text: bytes) -> bool:
    try:
        check_nesting(text)
    except RecursionError:
        return True
    return False


@pytest.mark.parametrize("inner", ["", '"]]]]"', r'"\"]"', r'"\\"', '{"]": "}"}'])
def test_the_limit_is_exact(inner: str) -> None:
    levels = LEVELS_MAX - inner.startswith("{")
    assert not is_refused(nested(levels, inner))
    assert is_refused(nested(levels + 1, inner))


def test_closers_in_strings_hide_nothing() -> None:
    assert is_refused(b'["]",' * (LEVELS_MAX + 1) + b"0" + b"]" * (LEVELS_MAX + 1))


def test_openers_in_strings_do_not_count() -> None:
    assert not is_refused(json.dumps(["[" * 10_000, {"{" * 10_000: 1}]).encode())
    assert not is_refused(json.dumps([[]] * 10_000).encode())


@pytest.mark.parametrize("text", [b'"' * 60_001, b'"\\"' * 20_000 + b"[" * 600, b"]" * 60_000])
def test_text_that_is_no_json_comes_to_an_end(text: bytes) -> None:
    is_refused(text)


@given(VALUES, st.integers(0, LEVELS_MAX + 40))
def test_levels_are_those_of_the_value(value: Any, around: int) -> None:
    text = nested(around, json.dumps(value))
    assert is_refused(text) is (around + depth(value) > LEVELS_MAX)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0
