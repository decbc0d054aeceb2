"""Verifies the tokens of clients, and says for whom they speak.

`clarion_gateway.clients.admission` asks at a handshake and at a log-in, and
`clarion_gateway.clients.posting` for each message by POST.
"""

from __future__ import annotations

from typing import Protocol

from clarion_contract.events.audience import Audience, check_user_id
from clarion_contract.events.errors import InvalidToken
from clarion_contract.events.naming import InvalidName
from clarion_contract.identity.claims import Claims
from clarion_contract.identity.tokens import StaleKey, UnknownKey
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close, Refused
from clarion_gateway.connections.identity import ANONYMOUS, Identity, audiences_in, identity_of
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.wire.format import MAIN


class Verifier(Protocol):
    """The part of `clarion_contract.identity.tokens.TokenVerifier` that admission uses."""

    def verify(self, token: str) -> Claims:
        """Return the claims of a valid token, if its key is known."""
        ...

    async def verify_fetching(self, token: str) -> Claims:
        """Return the claims of a valid token; fetches the issuer's keys if need be."""
        ...


class Revoking(Protocol):
    """The part of `clarion_gateway.clients.revocations.Revocations` that identification uses."""

    def refusal(self, claims: Claims) -> Close | None:
        """The close for a token that is revoked; None: no revocation concerns the token."""
        ...


Identified = tuple[Claims | None, Identity, list[Audience]]
"""A token's claims, for whom they speak, and the audiences that take such a client in."""


class Identification:
    """Identifies clients by their tokens."""

    def __init__(self, verifier: Verifier, revocations: Revoking, metrics: Metrics) -> None:
        self._verifier = verifier
        self._revocations = revocations
        self._metrics = metrics

    async def identify(self, token: str | None, namespace: str = MAIN) -> Identified:
        """Identify a client by its token.

        Args:
            token: a JWT; None for an anonymous client.
            namespace: that the client connects to.

        Raises:
            Refused: the token is not valid, or revoked.
            KeysUnavailable: the issuer did not give its keys.
        """
        if token is None:
            return None, ANONYMOUS, audiences_in(namespace, ANONYMOUS)
        try:
            return self._identified(await self._verifier.verify_fetching(token), namespace)
        except (InvalidToken, InvalidName) as invalid:
            raise self._refusal(invalid) from None

    def identify_now(self, token: str | None, namespace: str = MAIN) -> Identified | None:
        """As `identify`, without waiting; None: only the issuer can say whether the key is good.

        Raises:
            Refused: the token is not valid, or revoked.
        """
        if token is None:
            return None, ANONYMOUS, audiences_in(namespace, ANONYMOUS)
        try:
            return self._identified(self._verifier.verify(token), namespace)
        except (UnknownKey, StaleKey):
            return None
        except (InvalidToken, InvalidName) as invalid:
            raise self._refusal(invalid) from None

    def _identified(self, claims: Claims, namespace: str) -> Identified:
        check_user_id(claims.subject)
        identity = identity_of(claims)
        audiences = audiences_in(namespace, identity)
        self.check_revoked(claims)
        return claims, identity, audiences

    def _refusal(self, invalid: InvalidToken | InvalidName) -> Refused:
        reason = invalid.reason if isinstance(invalid, InvalidToken) else "claims"
        self._metrics.tokens_refused.labels(reason).inc()
        return Refused(close_codes.unauthenticated(str(invalid)))

    def check_revoked(self, claims: Claims | None) -> None:
        """Refuse a revoked token.

        Called twice: before anything else is spent on the token, and again after the join. A
        revocation that comes between the two would otherwise be missed.

        Raises:
            Refused: it is revoked.
        """
        close = None if claims is None else self._revocations.refusal(claims)
        if close is not None:
            self._metrics.tokens_refused.labels("revoked").inc()
            raise Refused(close)
