"""The claims of a verified token. Pure values; `clarion_contract.identity.tokens` verifies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a token that Clarion uses.

    Attributes:
        subject: user id or service name.
        scopes: from the ``scope`` claim (RFC 8693, section 4.2).
        expires_at: seconds since the epoch.
        token_id: the token's ``jti``, by which it can be revoked; None: the token has none.
        issued_at: the token's ``iat``, seconds since the epoch; None: the token has none.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: float
    token_id: str | None = None
    issued_at: float | None = None
