"""Identifies the calling service: from a bearer token (RFC 6750) to its claims."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from clarion_contract.events.errors import InvalidToken, KeysUnavailable
from clarion_contract.identity.claims import Claims
from clarion_contract.identity.tokens import TokenVerifier
from clarion_publisher.ingestion.refusal import RETRY_SECONDS
from clarion_publisher.metrics import Metrics
from clarion_publisher.sources.http.problems import (
    INVALID_TOKEN,
    KEYS_UNAVAILABLE,
    UNAUTHENTICATED,
    HttpRefusal,
)

# Producers send the same token for minutes. Verifying it costs 17 µs (HS256) to 97 µs (ES256), out
# of 190 for a whole publish. A key that the issuer withdraws stays accepted for this long.
REMEMBERED_SECONDS: Final = 30.0
_REMEMBERED_MAX: Final = 1_000


class Callers:
    """Verifies callers, and remembers tokens that it has just verified."""

    def __init__(
        self,
        verifier: TokenVerifier,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = verifier
        self._metrics = metrics
        self._clock = clock
        self._remembered: dict[bytes, tuple[Claims, float]] = {}

    async def identify(self, authorization: bytes | None) -> Claims:
        """The claims of the token in an Authorization header.

        Raises:
            Refusal: there is no token, or it identifies nobody, or it cannot be verified now.
        """
        if authorization is None:
            self._metrics.token_refused("missing")
            raise HttpRefusal(UNAUTHENTICATED, "expected the header Authorization: Bearer <token>")
        remembered = self.remembered(authorization)
        if remembered is not None:
            return remembered
        now = self._clock()
        claims = await self._verify(authorization)
        if len(self._remembered) >= _REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[authorization] = claims, min(now + REMEMBERED_SECONDS, claims.expires_at)
        return claims

    def remembered(self, authorization: bytes) -> Claims | None:
        """The claims of the token in an Authorization header, if it was verified a moment ago."""
        remembered = self._remembered.get(authorization)
        if remembered is None or self._clock() >= remembered[1]:
            return None
        return remembered[0]

    async def _verify(self, authorization: bytes) -> Claims:
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            self._metrics.token_refused("missing")
            raise HttpRefusal(UNAUTHENTICATED, "expected the authorization scheme Bearer")
        try:
            return await self._verifier.verify_fetching(token.strip(" "))
        except InvalidToken as error:
            self._metrics.token_refused(error.reason)
            raise HttpRefusal(INVALID_TOKEN, str(error)) from None
        except KeysUnavailable:
            self._metrics.token_refused("keys_unavailable")
            raise HttpRefusal(
                KEYS_UNAVAILABLE,
                "the issuer's keys cannot be fetched at the moment",
                retry_after_seconds=RETRY_SECONDS,
            ) from None
