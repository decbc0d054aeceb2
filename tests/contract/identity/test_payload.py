"""Claims where issuers write them: user ids and scopes under many names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clarion_contract.events.errors import InvalidToken
from clarion_contract.identity.payload import Reader, ScopeClaim


def scopes(claims: dict[str, Any], *texts: str) -> set[str]:
    reader = Reader("sub", [ScopeClaim.parse(text) for text in texts])
    return set(reader.scopes(reader.decode(json.dumps(claims).encode())))


def subject(claims: dict[str, Any], claim: str) -> str:
    reader = Reader(claim, [ScopeClaim("scope")])
    return reader.subject(reader.decode(json.dumps(claims).encode()))


@pytest.mark.parametrize(
    ("claims", "texts", "expected"),
    [
        ({"scope": "a b"}, ["scope"], {"a", "b"}),
        ({"scp": "a b"}, ["scope", "scp"], {"a", "b"}),
        ({"scp": ["a", "b"]}, ["scope", "scp"], {"a", "b"}),
        ({"scope": "a", "scp": ["b"]}, ["scope", "scp"], {"a"}),
        ({"scope": "a", "scp": ["b"]}, ["scp", "scope"], {"b"}),
        ({"scope": "", "scp": ["b"]}, ["scope", "scp"], set()),
        ({"scope": None, "scp": ["b"]}, ["scope", "scp"], {"b"}),
        ({"realm_access": {"roles": ["a"]}}, ["realm_access.roles"], {"a"}),
        ({"realm_access": {"roles": "a"}}, ["roles", "realm_access.roles"], {"a"}),
        ({"realm_access": ["a"]}, ["realm_access.roles"], set()),
        ({"resource_access": {"clarion": {"roles": ["a"]}}}, ["resource_access.clarion.roles"], {"a"}),
        ({"https://example.com/roles": ["a"]}, ["https://example.com/roles"], {"a"}),
        ({"a.b": "x", "a": {"b": "y"}}, ["a.b"], {"x"}),
        ({"scope": "clarion/a other/b c clarion/"}, ["scope=clarion/"], {"a"}),
        ({"roles": ["clarion-a", 5, None, "b"]}, ["roles=clarion-"], {"a"}),
        ({"client_id": "a"}, ["client_id"], {"a"}),
        ({"scope": {"a": 1}}, ["scope"], set()),
        ({}, ["scope", "realm_access.roles"], set()),
    ],
)  # fmt: skip
def test_scopes(claims: dict[str, Any], texts: list[str], expected: set[str]) -> None:
    assert scopes(claims, *texts) == expected


@pytest.mark.parametrize(
    ("claims", "claim", "expected"),
    [
        ({"sub": "a"}, "sub", "a"),
        ({"sub": 5, "email": "a@example.com"}, "email", "a@example.com"),
        ({"ext": {"user": "a"}}, "ext.user", "a"),
        ({"cognito:username": "a"}, "cognito:username", "a"),
        ({"client_id": "a"}, "client_id", "a"),
    ],
)
def test_the_users_id(claims: dict[str, Any], claim: str, expected: str) -> None:
    assert subject(claims, claim) == expected


@pytest.mark.parametrize(
    ("claims", "claim", "words"),
    [
        ({"sub": 5}, "sub", "expected the claim sub to be a string, got a number"),
        ({"sub": 5.5}, "sub", "got a number"),
        ({"sub": True}, "sub", "got true or false"),
        ({"sub": ["a"]}, "sub", "got a list"),
        ({"sub": {"id": "a"}}, "sub", "got an object"),
        ({"sub": "a"}, "email", "the token lacks the claim email"),
        ({"uid": 7}, "uid", "expected the claim uid to be a string, got a number"),
    ],
)
def test_what_cannot_be_a_users_id(claims: dict[str, Any], claim: str, words: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        subject(claims, claim)
    assert words in str(caught.value)
    assert caught.value.reason == "claims"
