"""From event to publication."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.event import Publication
from clarion_contract.identity.claims import Claims
from clarion_publisher import problems
from clarion_publisher.admission import Admission, producer_key
from clarion_publisher.authorise import SCOPES, authorise
from clarion_publisher.problems import Refusal
from clarion_publisher.schemas import NewEvent, UserAudience

CALLER = Claims("orders", frozenset(SCOPES.values()), 0)


def test_an_event_becomes_a_publication() -> None:
    event = NewEvent(UserAudience("alice"), "t", Raw(b"1.0"), None, "connection")
    publication = Admission(data_max_bytes=3).admit(CALLER, event, key=None, trace="trace")
    assert publication == Publication(
        Audience("user", "alice"), "t", b"1.0", None, "connection", "trace"
    )


def test_data_has_a_limit() -> None:
    event = NewEvent("all", "t", Raw(b"1.00"))
    with pytest.raises(Refusal, match="at most 3 bytes, got 4 bytes"):
        Admission(data_max_bytes=3).admit(CALLER, event, key=None, trace=None)


def test_a_user_id_is_counted_in_bytes() -> None:
    event = NewEvent(UserAudience("\u00e9" * 129), "t", Raw(b"1"))
    with pytest.raises(Refusal, match="got 258 bytes") as caught:
        Admission(data_max_bytes=3).admit(CALLER, event, key=None, trace=None)
    assert caught.value.row is problems.INVALID_EVENT


@pytest.mark.parametrize("audience", [ALL, AUTHENTICATED, Audience("user", "alice")])
def test_each_audience_needs_its_own_scope(audience: Audience) -> None:
    scope = SCOPES[audience.kind]
    authorise(Claims("orders", frozenset({scope}), 0), audience)
    others = frozenset(SCOPES.values()) - {scope} | {"publish", "publish:*", scope.upper()}
    with pytest.raises(Refusal) as caught:
        authorise(Claims("orders", others, 0), audience)
    assert caught.value.problem.scope == scope


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
    """PyJWT lets half a surrogate pair pass in `sub`."""
    assert producer_key("\ud800", "k") != producer_key("?", "k")
