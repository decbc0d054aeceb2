"""`clarion_gateway.connections.identity`: what is kept of a token."""

from __future__ import annotations

from clarion_contract.identity.claims import Claims
from clarion_gateway.connections.identity import ANONYMOUS, Identity, identity_of


def test_a_token_makes_an_identity() -> None:
    claims = Claims("alice", frozenset(), 300.0, "jti-1", 100.0)
    assert identity_of(claims) == Identity("alice", 300.0, "jti-1", 100.0)


def test_connections_without_a_token_share_one() -> None:
    assert identity_of(None) is ANONYMOUS
    assert Identity(None, None, None, None) == ANONYMOUS
