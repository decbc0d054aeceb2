"""The claims of a verified token. Pure values; `clarion_contract.identity.tokens` verifies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

NO_LISTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
"""Of a token that lists no names: all such tokens share it."""


def no_lists() -> Mapping[str, tuple[str, ...]]:
    """`NO_LISTS`, which cannot be a default itself: dataclasses take it for mutable."""
    return NO_LISTS


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a token that Clarion uses.

    Attributes:
        subject: user id or service name.
        scopes: from the ``scope`` claim (RFC 8693, section 4.2).
        expires_at: seconds since the epoch.
        token_id: the token's ``jti``, by which it can be revoked; None: the token has none.
        issued_at: the token's ``iat``, seconds since the epoch; None: the token has none.
        lists: names that the token lists for a kind of audience
            (`clarion_contract.events.audience.Kind.claims`).
        payload: all claims, as JSON.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: float
    token_id: str | None = None
    issued_at: float | None = None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=no_lists, hash=False)
    payload: bytes = field(default=b"{}", compare=False, repr=False)
