"""From event to publication."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.event import Publication
from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.admission import Admission, producer_key
from clarion_publisher.ingestion.authorise import SCOPES, authorise
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.refusal import DATA_TOO_LARGE, INVALID_EVENT, Refusal

CALLER = Claims("orders", frozenset(SCOPES.values()), 0)
ALICE = Audience("user", "alice")


def test_an_event_becomes_a_publication() -> None:
    event = IncomingEvent(ALICE, "t", b"1.0", None, "connection")
    publication = Admission(data_max_bytes=3).admit(CALLER, event, trace="trace")
    assert publication == Publication(
        Audience("user", "alice"), "t", b"1.0", None, "connection", "trace"
    )


def test_a_key_becomes_one_of_its_producer() -> None:
    event = IncomingEvent(ALICE, "t", b"1", "k")
    publication = Admission(data_max_bytes=3).admit(CALLER, event, trace=None)
    assert publication.key == producer_key("orders", "k")


def test_data_has_a_limit() -> None:
    event = IncomingEvent(ALL, "t", b"1.00")
    with pytest.raises(Refusal, match="at most 3 bytes, got 4 bytes") as caught:
        Admission(data_max_bytes=3).admit(CALLER, event, trace=None)
    assert caught.value.kind is DATA_TOO_LARGE


def test_a_user_id_is_counted_in_bytes() -> None:
    event = IncomingEvent(Audience("user", "\u00e9" * 129), "t", b"1")
    with pytest.raises(Refusal, match="got 258 bytes") as caught:
        Admission(data_max_bytes=3).admit(CALLER, event, trace=None)
    assert caught.value.kind is INVALID_EVENT


@pytest.mark.parametrize(
    ("event", "pointer"),
    [
        (IncomingEvent(Audience("user", ""), "t", b"1"), "/audience/user"),
        (IncomingEvent(Audience("user", "\ud800"), "t", b"1"), "/audience/user"),
        (IncomingEvent(ALL, "", b"1"), "/type"),
        (IncomingEvent(ALL, "a b", b"1"), "/type"),
        (IncomingEvent(ALL, "t\n", b"1"), "/type"),
        (IncomingEvent(ALL, "t" * 129, b"1"), "/type"),
        (IncomingEvent(ALL, "t", b"1", ""), "/key"),
        (IncomingEvent(ALL, "t", b"1", "k" * 256), "/key"),
        (IncomingEvent(ALL, "t", b"1", None, ""), "/exclude"),
        (IncomingEvent(ALL, "t", b"1", None, "c\n"), "/exclude"),
        (IncomingEvent(ALL, "t", b"1", None, "c d"), "/exclude"),
    ],
)
def test_no_source_gets_past_the_fields(event: IncomingEvent, pointer: str) -> None:
    """A space or newline in a field would forge the header of the bus message."""
    with pytest.raises(Refusal) as caught:
        Admission(data_max_bytes=3).admit(CALLER, event, trace=None)
    assert caught.value.kind is INVALID_EVENT
    assert [error.pointer for error in caught.value.errors] == [pointer]


@pytest.mark.parametrize("audience", [ALL, AUTHENTICATED, ALICE])
def test_each_audience_needs_its_own_scope(audience: Audience) -> None:
    scope = SCOPES[audience.kind]
    authorise(Claims("orders", frozenset({scope}), 0), audience)
    others = frozenset(SCOPES.values()) - {scope} | {"publish", "publish:*", scope.upper()}
    with pytest.raises(Refusal) as caught:
        authorise(Claims("orders", others, 0), audience)
    assert caught.value.scope == scope


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_keys_of_different_producers_never_meet(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    assert (producer_key(*first) == producer_key(*second)) == (first == second)
    assert re.fullmatch("[0-9a-f]{32}", producer_key(*first))


def test_keys_cannot_be_shifted_between_producer_and_key() -> None:
    assert producer_key("ab", "c") != producer_key("a", "bc")
    assert producer_key("1:a", "b") != producer_key("1", "a:b")


def test_a_producer_may_have_any_name() -> None:
    """PyJWT accepts half a surrogate pair in `sub`."""
    assert producer_key("\ud800", "k") != producer_key("?", "k")


def test_a_key_may_hold_anything() -> None:
    """A source other than HTTP may hand in half a surrogate pair."""
    assert producer_key("p", "\ud800") != producer_key("p", "?")
