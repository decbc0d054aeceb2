"""Service tokens made from a secret, and how long a token is used."""

from __future__ import annotations

import time

import jwt

from clarion.publisher import ServiceToken
from clarion.publisher.tokens import KeptToken
from tests.conftest import SECRET


def test_a_token_has_the_claims_that_the_publisher_expects() -> None:
    made = ServiceToken(
        SECRET, "shop", ["publish:all", "publish:user"], audience="clarion", issuer="me", seconds=60
    )()
    claims = jwt.decode(made, SECRET, algorithms=["HS256"], audience="clarion", issuer="me")
    assert claims["sub"] == "shop"
    assert claims["scope"] == "publish:all publish:user"
    assert 0 < claims["exp"] - claims["iat"] <= 60
    assert "aud" not in jwt.decode(ServiceToken(SECRET, "s", [])(), SECRET, algorithms=["HS256"])


def test_it_does_not_show_its_secret() -> None:
    assert SECRET not in repr(ServiceToken(SECRET, "shop", []))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_is_used_for_most_of_its_life() -> None:
    clock = Clock()
    kept = KeptToken(clock)
    assert kept.current() is None
    token = jwt.encode({"exp": 1100}, SECRET)
    kept.keep(token)
    clock.now = 1079
    assert kept.current() == token
    clock.now = 1081
    assert kept.current() is None


def test_a_token_that_does_not_say_its_end_is_used_once() -> None:
    kept = KeptToken(time.time)
    for token in ("opaque", "a.b.c", jwt.encode({"sub": "x"}, SECRET), "a.W10.c"):
        kept.keep(token)
        assert kept.current() is None
