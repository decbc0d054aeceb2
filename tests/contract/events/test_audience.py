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
    check_user_id,
    user_audience,
)
from clarion_contract.redis.keyspace import Keyspace

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


def test_a_user_named_all_is_not_all() -> None:
    assert user_audience("all").stream == "user:all"
    assert (ALL.stream, AUTHENTICATED.stream) == ("all", "authenticated")


@pytest.mark.parametrize("user", ["a", "x" * 256, "\u00e9" * 128, "\U0001f600" * 64])
def test_user_ids(user: str) -> None:
    assert check_user_id(user) == user


@pytest.mark.parametrize("user", ["", "x" * 257, "\u00e9" * 129, "\ud800", "x" * 10_000])
def test_no_user_ids(user: str) -> None:
    with pytest.raises(InvalidUserId):
        user_audience(user)
