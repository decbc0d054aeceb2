"""The identity of a connection: its user, and facts about the token.

The hub sets it at the handshake, and again when the client logs in or out on an open connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from clarion_contract.events.audience import Audience, audiences_of
from clarion_contract.identity.claims import Claims, no_lists
from clarion_gateway.wire.format import MAIN


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

    def expires_in(self, now: float) -> int | None:
        """Seconds until the token ends; None without a token.

        Args:
            now: seconds since 1970.
        """
        return None if self.expires_at is None else max(0, round(self.expires_at - now))


ANONYMOUS: Final = Identity(None)


def audiences_in(namespace: str, identity: Identity) -> list[Audience]:
    """Every audience that takes in the connections of an identity to a namespace.

    In other namespaces than the main one, that is the topic of the namespace's name. Else an event
    for all would reach a client once in each namespace that it has connected to.

    Raises:
        InvalidName: a name in the token is none.
    """
    every = audiences_of(identity)
    return every if namespace == MAIN else [Audience("topic", namespace)]


def identity_of(claims: Claims | None) -> Identity:
    """The identity by the claims of a verified token.

    Without a token it is `ANONYMOUS`, one object for all such connections.
    """
    if claims is None:
        return ANONYMOUS
    return Identity(
        claims.subject, claims.expires_at, claims.token_id, claims.issued_at, claims.lists
    )
