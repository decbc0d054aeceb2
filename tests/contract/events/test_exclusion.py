"""`clarion_contract.events.exclusion`: whom an event leaves out, as one text."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.event import Publication, parse_message
from clarion_contract.events.exclusion import (
    NAMES_MAX_CHARACTERS,
    exclusion_of,
    extended,
    is_connection_id,
    is_exclusion,
    names_in,
)

IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
STREAMS = st.text(min_size=1, max_size=20).map(lambda name: Audience("topic", name).stream)


@given(st.lists(IDS | STREAMS, min_size=1))
def test_names_come_back_from_a_message_on_the_bus(names: list[str]) -> None:
    text = exclusion_of(names)
    assert text is not None
    assert is_exclusion(text)
    publication = Publication(ALL, "tick", b"1", exclude=text)
    event = parse_message(ALL, b"2 1 %b\n1" % publication.header.encode())
    assert event.exclude == text
    assert names_in(text) == set(names)


@given(st.lists(IDS | STREAMS), st.lists(IDS | STREAMS))
def test_a_text_grows_by_single_names(names: list[str], more: list[str]) -> None:
    repeated = [*more, *names[:1]]
    assert reduce(extended, repeated, exclusion_of(names)) == exclusion_of([*names, *repeated])


def test_one_connection_is_a_text_of_its_own() -> None:
    assert is_exclusion("AbC-1")
    assert names_in("AbC-1") == {"AbC-1"}
    assert exclusion_of([]) is None


@pytest.mark.parametrize("stream", ["all", "authenticated"])
def test_an_id_never_names_a_stream(stream: str) -> None:
    assert not is_connection_id(stream)
    assert is_exclusion(stream)
    assert names_in(stream) == set()
    assert names_in(f",{stream}") == {stream}


def test_a_list_may_be_long() -> None:
    names = [f"topic:{number:05}" for number in range(1_300)]
    text = exclusion_of(names)
    assert text is not None
    assert len(text) <= NAMES_MAX_CHARACTERS
    assert is_exclusion(text)
    assert names_in(text) == set(names)


@pytest.mark.parametrize("text", ["", ",", "a b", ",a b", ",a\n", "topic:x", "a,b", ",é"])
def test_other_texts_are_refused(text: str) -> None:
    assert not is_exclusion(text)
