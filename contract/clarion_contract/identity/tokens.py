"""Verifies tokens: the JWTs (RFC 7519) of users and of publishing services.

Verification never waits, with one exception. If the JWKS does not hold the token's key yet,
`clarion_contract.identity.jwks` fetches it, within a budget however many tokens come in.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from clarion_contract.events.errors import InvalidToken, KeysUnavailable
from clarion_contract.identity import jws
from clarion_contract.identity.claims import Claims
from clarion_contract.identity.jwks import JwksKeys
from clarion_contract.identity.jws import ASYMMETRIC
from clarion_contract.identity.keys import FixedKey, Keys, KeySource
from clarion_contract.identity.payload import NO_CLAIMS, Payload, Reader, ScopeClaim
from clarion_contract.service.settings import (
    TOKEN_MAX_BYTES,
    ContractSettings,
    InvalidSettings,
)

KEYS_WAIT_SECONDS: Final = 8.0
"""The seconds that a token with an unknown key may wait for the issuer's keys."""

SYMMETRIC: Final = frozenset({"HS256", "HS384", "HS512"})


class UnknownKey(InvalidToken):
    """The token names a key that the key source does not hold. Fetching keys may help."""

    def __init__(self) -> None:
        super().__init__("signature", "the token is signed with an unknown key")


class StaleKey(InvalidToken):
    """The token's key is known, and the signature fails. Issuers may reuse an id for a new key."""


class TokenVerifier:
    """Verifies tokens against one key source.

    Args:
        audiences: one of them must stand in ``aud``; none: tokens that name an audience are
            refused.
        issuers: one of them must be ``iss``; none: any will do.
        client_ids: tokens without ``aud`` are accepted if their ``client_id``, or else their
            ``azp``, is one of them.
        subject_claim: the claim that names the user or service.
        scope_claims: the claims with scopes; the first that a token has counts.
        lists: claims that list names, such as topics: what `Claims.lists` calls each, and its name
            in tokens.
        leeway_seconds: tolerated difference of clocks.
        token_max_bytes: longer tokens are refused unread.
        lifetime_max_seconds: tokens that end later than this are refused.
    """

    def __init__(  # noqa: PLR0913 - all that is expected of a token
        self,
        keys: KeySource,
        *,
        algorithms: Sequence[str],
        audiences: Collection[str] = (),
        issuers: Collection[str] = (),
        client_ids: Collection[str] = (),
        subject_claim: str = "sub",
        scope_claims: Sequence[ScopeClaim] = (ScopeClaim("scope"),),
        lists: Mapping[str, str] = NO_CLAIMS,
        leeway_seconds: float = 0,
        token_max_bytes: int = TOKEN_MAX_BYTES,
        lifetime_max_seconds: float = math.inf,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._signatures = jws.Signatures(algorithms, keys.only)
        self._reader = Reader(subject_claim, scope_claims, lists)
        self._audiences = frozenset(audiences)
        self._issuers = frozenset(issuers)
        self._client_ids = frozenset(client_ids)
        self._is_for_some = bool(self._audiences or self._client_ids)
        self._leeway_seconds = leeway_seconds
        self._token_max_bytes = token_max_bytes
        self._lifetime_max_seconds = lifetime_max_seconds
        self._clock = clock

    def verify(self, token: str) -> Claims:
        """The claims of a valid token; never waits.

        Raises:
            UnknownKey, StaleKey: `verify_fetching` may succeed.
            InvalidToken: the token identifies no user or service.
        """
        if not token:
            raise InvalidToken("malformed", "expected a token, got an empty one")
        if len(token) > self._token_max_bytes:
            raise InvalidToken(
                "malformed",
                f"expected a token of at most {self._token_max_bytes} bytes, got {len(token)}",
            )
        signed = jws.parse(token)
        self._signatures.check_algorithm(signed)
        if self._keys.only is not None:
            self._signatures.check(signed)
        else:
            self._check_signature(signed)
        payload = self._reader.decode(signed.payload)
        self._check_times(payload)
        if self._issuers:
            self._check_issuer(payload.iss)
        if payload.aud or self._is_for_some:
            self._check_audience(payload)
        return Claims(
            self._reader.subject(payload),
            self._reader.scopes(payload),
            payload.exp or 0,
            payload.jti,
            payload.iat,
            self._reader.lists(payload),
            signed.payload,
        )

    async def verify_fetching(self, token: str) -> Claims:
        """As `verify`, but fetch keys if the token's key is unknown, or does not fit any more.

        Raises:
            InvalidToken: the token identifies no user or service.
            KeysUnavailable: the key is unknown, and keys cannot be fetched within
                `KEYS_WAIT_SECONDS`.
        """
        try:
            return self.verify(token)
        except UnknownKey:
            await self._refresh()
        except StaleKey:
            if not await self._keys.recheck():
                raise
        return self.verify(token)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(KEYS_WAIT_SECONDS):
                await self._keys.refresh()
        except TimeoutError:
            raise KeysUnavailable("the issuer's keys were not fetched in time") from None

    def _check_signature(self, signed: jws.SignedToken) -> None:
        """Check the signature by the keys that may have made it."""
        candidates = self._keys.find(signed.header.kid, signed.header.alg)
        if candidates.exist and not candidates.keys:
            raise StaleKey("algorithm", "the token's key is for another algorithm")
        try:
            self._signatures.check(signed, candidates.keys)
        except InvalidToken as error:
            if candidates.named:
                raise StaleKey(error.reason, str(error)) from None
            raise UnknownKey from None

    def _check_times(self, payload: Payload) -> None:
        """Check when the token is valid (RFC 7519, section 4.1)."""
        now, leeway = self._clock(), self._leeway_seconds
        if payload.exp is None:
            raise _lacks("exp")
        if payload.exp <= now - leeway:
            raise InvalidToken("expired", "the token has expired")
        if payload.exp > now + leeway + self._lifetime_max_seconds:
            raise InvalidToken(
                "lifetime",
                f"the token ends in more than {self._lifetime_max_seconds:g} s; exp counts seconds",
            )
        if payload.nbf is not None and payload.nbf > now + leeway:
            raise InvalidToken("not_yet_valid", "the token is not valid yet")
        if payload.iat is not None and payload.iat > now + leeway:
            raise InvalidToken("not_yet_valid", "the token was issued in the future")

    def _check_issuer(self, issuer: object) -> None:
        if issuer is None:
            raise _lacks("iss")
        if not isinstance(issuer, str) or issuer not in self._issuers:
            raise InvalidToken("issuer", "the token comes from another issuer")

    def _check_audience(self, payload: Payload) -> None:
        """Refuse a token that is not for this service.

        A token that names an audience is refused if the settings name none.
        """
        audience = payload.aud
        if audience:
            if self._audiences.isdisjoint([audience] if isinstance(audience, str) else audience):
                raise InvalidToken("audience", "the token is for another audience")
        elif self._client_ids:
            client = payload.azp if payload.client_id is None else payload.client_id
            if not isinstance(client, str) or client not in self._client_ids:
                raise InvalidToken("audience", "the token was issued to another client_id")
        elif self._audiences:
            raise _lacks("aud")


def algorithms_of(settings: ContractSettings) -> tuple[str, ...]:
    """The accepted algorithms: those in the settings, or those that fit the key source.

    Raises:
        ValueError: an algorithm does not fit the key source; ``none`` never fits. If a public key
            served as an HMAC secret, anyone could sign tokens.
    """
    allowed = SYMMETRIC if settings.jwt_secret else ASYMMETRIC
    default = ("HS256",) if settings.jwt_secret else ("RS256", "ES256")
    unfit = sorted(set(settings.jwt_algorithms) - allowed)
    if unfit:
        raise ValueError(
            f"expected CLARION_JWT_ALGORITHMS out of {', '.join(sorted(allowed))}, "
            f"got {', '.join(unfit)}"
        )
    return settings.jwt_algorithms or default


def fixed_key(settings: ContractSettings) -> FixedKey | None:
    """The key in the settings; None when they name a JWKS URL instead.

    Raises:
        ValueError: CLARION_JWT_PUBLIC_KEY is not a public key or a certificate in PEM.
    """
    if settings.jwt_secret:
        return FixedKey(settings.jwt_secret.get_secret_value())
    if settings.jwt_public_key:
        pem = settings.jwt_public_key.encode()
        try:
            if b"-----BEGIN CERTIFICATE-----" in pem:
                return FixedKey(load_pem_x509_certificate(pem).public_key())
            return FixedKey(load_pem_public_key(pem))
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("expected a public key in PEM as CLARION_JWT_PUBLIC_KEY") from None
    return None


def verifier_of(
    settings: ContractSettings,
    *,
    subject_claim: str = "sub",
    lists: Mapping[str, str] = NO_CLAIMS,
) -> tuple[Keys, TokenVerifier]:
    """The verifier that the settings describe, and its keys.

    Args:
        subject_claim: the claim that names the user or service.
        lists: see `TokenVerifier`.

    Raises:
        InvalidSettings: the keys or algorithms in the settings cannot be used.
    """
    try:
        keys: Keys = fixed_key(settings) or JwksKeys(settings.jwt_jwks_url or "")
        algorithms = algorithms_of(settings)
    except ValueError as error:
        raise InvalidSettings([str(error)]) from None
    return keys, TokenVerifier(
        keys,
        algorithms=algorithms,
        audiences=settings.jwt_audience,
        issuers=settings.jwt_issuer,
        client_ids=settings.jwt_client_id,
        subject_claim=subject_claim,
        scope_claims=[ScopeClaim.parse(text) for text in settings.jwt_scope_claims],
        lists=lists,
        leeway_seconds=settings.jwt_leeway_seconds,
        token_max_bytes=settings.token_max_bytes,
        lifetime_max_seconds=settings.token_max_seconds,
    )


def _lacks(claim: str) -> InvalidToken:
    return InvalidToken("claims", f"the token lacks the claim {claim}")
