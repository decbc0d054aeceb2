"""Topics' names and patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import Audience, topic_audience
from clarion_contract.events.topic import InvalidTopic, check_pattern, check_topic, covers

SEGMENTS = st.text("aZ9_-:@/#=+~", min_size=1, max_size=6)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=5).map(".".join)


@given(NAMES)
def test_names(name: str) -> None:
    assert check_topic(name) == check_pattern(name) == name
    assert Audience("topic", name).stream.isascii()
    assert not set("{} *") & set(Audience("topic", name).stream)


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a..b", "a b", "a\n", "ä", "a.*", "*", "**", "a{b}", 'a"b', "a" * 129],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InvalidTopic, match="expected a topic of 1 to 128 characters out of A-Z"):
        topic_audience(text)


@pytest.mark.parametrize("text", ["", "a*", "a.**.b", "***", "a.", "a.**.", "*.**b", "a\n", "**.*"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(InvalidTopic, match=r"where a segment may be \* and the last \*\*"):
        check_pattern(text)
    assert not covers(text, "a"), "and covers nothing"


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("order.42", "order.42", True),
        ("order.42", "order.420", False),
        ("order.*", "order.42", True),
        ("order.*", "order", False),
        ("order.*", "order.42.lines", False),
        ("*.42", "order.42", True),
        ("*", "order", True),
        ("*", "order.42", False),
        ("order.**", "order.42.lines", True),
        ("order.**", "order", False),
        ("*.*.**", "order.42", False),
        ("**", "order.42.lines", True),
        ("a+b", "aab", False),
        ("order.*", "orders.42", False),
    ],
)
def test_what_a_pattern_covers(pattern: str, name: str, expected: bool) -> None:
    assert covers(pattern, name) is expected


@given(NAMES, NAMES)
def test_a_name_covers_itself_alone(one: str, other: str) -> None:
    assert covers(one, other) is (one == other)
    assert covers("**", one)
    assert covers(".".join("*" * (one.count(".") + 1)), one)


@given(st.text())
def test_what_covers_a_name_is_a_pattern(text: str) -> None:
    if covers(text, "a.b"):
        assert check_pattern(text) == text
