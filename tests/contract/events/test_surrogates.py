"""Lone surrogates are found as Python's own JSON reader finds them, and can be taken out."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.surrogates import has_lone, replaced

UNITS = st.sampled_from(
    [r"\ud83d", r"\uDE00", r"\udbff", r"\uD800", r"\ude00", r"\\", r"\n", "a", "u", "d83d", r"\u0041"]
)  # fmt: skip


def is_lone(text: str) -> bool:
    value = json.loads(text)
    return any(0xD800 <= ord(character) <= 0xDFFF for character in value)


@given(st.lists(UNITS, max_size=8).map("".join))
def test_what_is_lone_is_found(body: str) -> None:
    """One case is left to the decoder: a low half behind an escaped backslash and a high half."""
    text = f'"{body}"'
    if has_lone(text.encode()):
        assert is_lone(text)
    elif r"\\" not in body:
        assert not is_lone(text)


@given(st.lists(UNITS, max_size=8).map("".join))
def test_what_is_lone_is_replaced(body: str) -> None:
    text = f'"{body}"'.encode()
    found = replaced(text)
    if found is None:
        assert not has_lone(text)
        return
    changed, stand_in = found
    assert len(changed) == len(text)
    assert not has_lone(changed)
    assert stand_in not in text
    assert stand_in in changed


def test_very_many_are_left_alone() -> None:
    assert replaced(rb"\ud800" * 20_000) is None
    assert has_lone(rb"\ud800" * 20_000)
