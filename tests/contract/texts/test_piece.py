"""Pieces of growing texts: how they become whole, and what stays as it is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import topic_audience
from clarion_contract.events.event import Event
from clarion_contract.texts.piece import (
    InvalidText,
    Piece,
    check_name,
    check_reason,
    in_json,
    newest,
    piece_of,
    whole_pieces,
)

TOPIC = topic_audience("answer.1")


def piece(id_: int, seq: int, text: str, *, whole: bool = False, stream: str = "a") -> Event:
    data = msgspec.json.encode(Piece(stream, seq, whole, "writing", text))
    return Event(id_, 0, TOPIC, "answer", data, of_text=True)


def other(id_: int) -> Event:
    return Event(id_, 0, TOPIC, "other", b"1")


def said(events: list[Event]) -> list[tuple[int, str | None]]:
    return [(event.id, piece_of(event).text if event.of_text else None) for event in events]


def test_pieces_after_the_whole_become_one_event_in_the_place_of_the_last() -> None:
    events = [
        piece(1, 1, "Hel", whole=True),
        other(2),
        piece(3, 2, "lo"),
        other(4),
        piece(5, 3, "!"),
    ]
    whole, is_short = whole_pieces(events)
    assert said(whole) == [(2, None), (4, None), (5, "Hello!")]
    assert piece_of(whole[-1]) == Piece("a", 3, True, "writing", "Hello!")
    assert not is_short


def test_the_whole_replaces_pieces_before_it() -> None:
    whole, is_short = whole_pieces([piece(1, 7, "x"), piece(2, 8, "everything", whole=True)])
    assert said(whole) == [(2, "everything")]
    assert is_short


def test_pieces_without_their_beginning_stay_as_they_are() -> None:
    whole, is_short = whole_pieces([piece(1, 7, "x"), piece(2, 8, "y")])
    assert said(whole) == [(1, "x"), (2, "y")]
    assert is_short


def test_a_piece_that_the_whole_has_already_is_left_out() -> None:
    whole, _ = whole_pieces([piece(1, 5, "all", whole=True), piece(2, 5, "l"), piece(3, 6, "!")])
    assert said(whole) == [(3, "all!")]


def test_texts_do_not_mix() -> None:
    whole, _ = whole_pieces(
        [piece(1, 1, "1", whole=True), piece(2, 1, "2", whole=True, stream="b"), piece(3, 2, "1")]
    )
    assert said(whole) == [(2, "2"), (3, "11")]


def test_the_newest_piece_is_found() -> None:
    assert newest([other(1), piece(2, 1, "a", whole=True), other(3)]) == 2
    assert newest([other(1)]) == 0


@given(st.lists(st.text()))
def test_pieces_in_json_joined_are_their_text_in_json(pieces: list[str]) -> None:
    joined = b"".join(map(in_json, pieces))
    assert msgspec.json.decode(b'"%b"' % joined) == "".join(pieces)


@pytest.mark.parametrize("name", ["", "a b", "a" * 65, "a\n", "ä"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(InvalidText, match="expected a name"):
        check_name(name)


@pytest.mark.parametrize("reason", ["", "length", "content_filter"])
def test_reasons(reason: str) -> None:
    assert check_reason(reason) == reason


@pytest.mark.parametrize("reason", ["a b", "a\n", "ä"])
def test_reasons_that_cannot_be(reason: str) -> None:
    with pytest.raises(InvalidText, match="expected a reason of the form"):
        check_reason(reason)


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(InvalidText, match="expected text in Unicode"):
        in_json("\ud83d")
