"""The identity of a connection: its user, and facts about the token.

The hub sets it at the handshake, and again when the client logs in or out on an open connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from clarion_contract.identity.claims import Claims, no_lists


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, and facts about the user's token.

    Attributes:
        user: the token's ``sub``; None for an anonymous connection.
        expires_at: the end of the token, in seconds since 1970; None without a token.
        token_id: the token's ``jti``; None if it has none.
        issued_at: the token's ``iat``, in seconds since 1970; None if it has none.
        lists: names that the token lists for kinds of audiences, see `Claims.lists`.
    """

    user: str | None
    expires_at: float | None = None
    token_id: str | None = None
    issued_at: float | None = None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=no_lists, hash=False)


ANONYMOUS: Final = Identity(None)


def identity_of(claims: Claims | None) -> Identity:
    """The identity by the claims of a verified token.

    Without a token it is `ANONYMOUS`, one object for all such connections.
    """
    if claims is None:
        return ANONYMOUS
    return Identity(
        claims.subject, claims.expires_at, claims.token_id, claims.issued_at, claims.lists
    )
