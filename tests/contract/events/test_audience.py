"""Audiences and stream names: every user id names one stream, and cannot break out of its tag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import (
    ALL,
    AUTHENTICATED,
    Audience,
    InvalidUserId,
    UnknownKind,
    audience_forms,
    audiences_of,
    check_user_id,
    namings,
    parse_audience,
    topic_audience,
    user_audience,
)
from clarion_contract.events.naming import InvalidName
from clarion_contract.redis.keyspace import Keyspace
from clarion_gateway.connections.identity import Identity

USERS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)


@given(USERS)
def test_stream_names_are_safe_in_a_key(user: str) -> None:
    audience = Audience("user", user)
    assert audience.stream.isascii()
    assert not set(audience.stream) & set("{} \r\n\x00")


@given(USERS, USERS)
def test_users_never_share_a_stream(first: str, second: str) -> None:
    same = Audience("user", first).stream == Audience("user", second).stream
    assert same == (first == second)


@given(USERS)
def test_channels_lead_back(user: str) -> None:
    keys, stream = Keyspace("ns"), Audience("user", user).stream
    assert keys.stream(keys.channel(stream)) == stream
    assert keys.log(stream).count("{") == keys.log(stream).count("}") == 1


def test_names_that_may_not_change_since_they_stand_in_redis() -> None:
    assert user_audience("a@b:c+d.e-f~g").stream == "user:a@b:c+d.e-f~g"
    assert user_audience("{ä /}").stream == "user:%7B%C3%A4%20%2F%7D"
    assert Audience("user", "\ud800").stream == "user:%ED%A0%80"


def test_an_unknown_kind_is_refused() -> None:
    kinds = "all, authenticated, user, topic"
    with pytest.raises(UnknownKind, match=f"expected a kind of audience out of {kinds}, got 'x'"):
        Audience("x")


def test_a_user_named_all_is_not_all() -> None:
    assert user_audience("all").stream == "user:all"
    assert (ALL.stream, AUTHENTICATED.stream) == ("all", "authenticated")


@pytest.mark.parametrize("user", ["a", "x" * 256, "\u00e9" * 128, "\U0001f600" * 64])
def test_user_ids(user: str) -> None:
    assert check_user_id(user) == user


@pytest.mark.parametrize("user", ["", "x" * 257, "\u00e9" * 129, "\ud800", "x" * 10_000])
def test_no_user_ids(user: str) -> None:
    with pytest.raises(InvalidUserId, match="expected a user id of"):
        user_audience(user)


@pytest.mark.parametrize(
    ("text", "audience"),
    [
        ("all", ALL),
        ("authenticated", AUTHENTICATED),
        ("user:alice", user_audience("alice")),
        ("user:a:b", user_audience("a:b")),
        ("topic:order.42", topic_audience("order.42")),
    ],
)
def test_a_text_names_an_audience(text: str, audience: Audience) -> None:
    assert parse_audience(text) == audience


@pytest.mark.parametrize("text", ["", "all:", "all:x", "user", "topic", "team:x", ":", "x" * 100])
def test_a_text_that_names_none_says_what_was_expected(text: str) -> None:
    with pytest.raises(UnknownKind) as caught:
        parse_audience(text)
    expected = "all, authenticated, user:<name> or topic:<name>"
    assert audience_forms() == expected
    assert str(caught.value) == f"expected {expected}, got {text[:64]!r}"


@pytest.mark.parametrize("text", ["user:", "topic:", "topic:a b"])
def test_a_name_that_is_none_of_its_kind_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        parse_audience(text)


def test_kinds_with_names_have_rules_for_them() -> None:
    assert set(namings()) == {"user", "topic"}


def test_a_token_may_list_some_names_and_not_others() -> None:
    listed = Identity("alice", lists={"topics": ("a", "b", "a")})
    shared = [ALL, AUTHENTICATED, user_audience("alice")]
    assert audiences_of(listed) == [*shared, topic_audience("a"), topic_audience("b")]
    assert audiences_of(Identity("alice", lists={"subscribe": ("a.*",)})) == shared
    with pytest.raises(InvalidName):
        audiences_of(Identity("alice", lists={"subscribe": ("a b",)}))
