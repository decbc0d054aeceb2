"""Who a token speaks for. Pure values; `clarion_contract.identity.tokens` verifies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claims:
    """What Clarion reads of a token.

    Attributes:
        subject: user id or service name.
        scopes: of the ``scope`` claim (RFC 8693, section 4.2).
        expires_at: seconds since the epoch.
        token_id: the token's ``jti``, by which it can be revoked; None: it has none.
        issued_at: its ``iat``, seconds since the epoch; None: it does not say.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: float
    token_id: str | None = None
    issued_at: float | None = None
