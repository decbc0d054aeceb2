"""For whom a connection speaks: a value that the hub gives it, at its handshake and in band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clarion_contract.identity.claims import Claims


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, and the token that says so.

    Attributes:
        user: None: nobody.
        expires_at: when the token ends, seconds since the epoch; None while there is none.
        token_id: the token's ``jti``; None: it has none.
        issued_at: its ``iat``, seconds since the epoch; None: it does not say.
    """

    user: str | None
    expires_at: float | None = None
    token_id: str | None = None
    issued_at: float | None = None


ANONYMOUS: Final = Identity(None)


def identity_of(claims: Claims | None) -> Identity:
    """Of a verified token; None: `ANONYMOUS`, which all connections without a token share."""
    if claims is None:
        return ANONYMOUS
    return Identity(claims.subject, claims.expires_at, claims.token_id, claims.issued_at)
