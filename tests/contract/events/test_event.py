"""Bus messages are decoded to what was encoded, and malformed ones are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import ALL
from clarion_contract.events.event import (
    CONNECTION_ID_PATTERN,
    TRACEPARENT_PATTERN,
    TYPE_PATTERN,
    Event,
    InvalidMessage,
    InvalidPosition,
    InvalidType,
    Publication,
    check_type,
    parse_message,
    parse_position,
    to_the_end,
)

IDS = st.integers(0, 2**53)
TYPES = st.from_regex(TYPE_PATTERN, fullmatch=True)
CONNECTIONS = st.from_regex(CONNECTION_ID_PATTERN, fullmatch=True).filter(lambda id_: id_ != "-")
TRACES = st.from_regex(TRACEPARENT_PATTERN, fullmatch=True)


@given(
    IDS,
    IDS,
    TYPES,
    st.none() | CONNECTIONS,
    st.none() | TRACES,
    st.binary().map(lambda data: data.strip(b" \t") or b"1"),
    st.booleans(),
    st.booleans(),
)
def test_messages_round_trip(
    id_: int,
    prev: int,
    kind: str,
    exclude: str | None,
    trace: str | None,
    data: bytes,
    history: bool,
    arguments: bool,
) -> None:
    publication = Publication(
        ALL, kind, b" \t%b \t" % data, exclude=exclude, trace=trace, arguments=arguments
    )
    mark = b"" if history else b" "
    message = b"%d %d %b\n%b" % (id_, prev, publication.header.encode(), mark)
    assert parse_message(ALL, message + publication.payload) == Event(
        id_, prev, ALL, kind, data, exclude, trace, history, arguments=arguments
    )


def test_a_message_ends_its_header_with_the_first_newline() -> None:
    event = parse_message(ALL, b'2 1 t - -\n{"a":\n1}')
    assert (event.type, event.data) == ("t", b'{"a":\n1}')


@given(st.binary())
def test_whatever_comes_is_an_event_or_invalid(message: bytes) -> None:
    try:
        event = parse_message(ALL, message)
    except InvalidMessage:
        return
    assert message.endswith(event.data)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"1 0 t - -",
        b"1 0 t -\nx",
        b"a 0 t - -\nx",
        b"1 0 t - - -\nx",
        b"1 0 \xff - -\nx",
        b"9" * 17 + b" 0 t - -\nx",
        b"1 0 t - 00-zz\nx",
        b"1 0 t /etc -\nx",
    ],
)
def test_what_is_no_message(message: bytes) -> None:
    with pytest.raises(InvalidMessage, match="expected"):
        parse_message(ALL, message)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (TYPE_PATTERN, "order.updated"),
        (CONNECTION_ID_PATTERN, "c0ffee"),
        (TRACEPARENT_PATTERN, f"00-{'1' * 32}-{'2' * 16}-01"),
    ],
)
def test_patterns_end_where_the_text_ends(pattern: str, text: str) -> None:
    """`$` alone lets a last newline pass in Python, which would end the message's header."""
    assert re.fullmatch(pattern, text)
    assert re.search(to_the_end(pattern), text)
    for more in ("\n", " ", "\r", "\n\n"):
        assert not re.fullmatch(pattern, text + more)
        assert not re.search(to_the_end(pattern), text + more)


def test_a_type_ends_where_the_text_ends() -> None:
    assert check_type("order.updated") == "order.updated"
    with pytest.raises(InvalidType, match="expected an event type of the form"):
        check_type("order.updated\n")


def test_an_id_tells_its_time() -> None:
    event = Event(1_732_440_000_123_456, 0, ALL, "t", b"")
    assert event.time == "2024-11-24T09:20:00.123456Z"


@given(st.integers(0, 10**16 - 1))
def test_positions(position: int) -> None:
    assert parse_position(str(position)) == position


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1_0", " 1", "1\n", "\u0661", "1" * 17, "abc"])
def test_no_positions(text: str) -> None:
    with pytest.raises(InvalidPosition, match="expected an event id of 1 to 16 digits"):
        parse_position(text)


def test_an_event_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Event(1, 0, ALL, "a", b"1").data = b"2"  # type: ignore[misc]


def test_a_long_exclusion_counts_as_memory() -> None:
    plain = Event(2, 1, ALL, "tick", b"1")
    excluding = Event(2, 1, ALL, "tick", b"1", exclude="," + "a" * 10_000)
    assert excluding.cost_bytes >= plain.cost_bytes + 10_000
