"""Verifying tokens: JWT (RFC 7519), of users and of publishing services alike.

Verification itself never waits. Only when a JWKS does not hold the token's key yet is it fetched,
by `contract.jwks`, at most once per interval whatever tokens come in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from contract.claims import Claims
from contract.errors import InvalidToken
from contract.jwks import JwksKeys
from contract.settings import ContractSettings, InvalidSettings

TOKEN_MAX_CHARACTERS: Final = 8_192

SYMMETRIC: Final = frozenset({"HS256", "HS384", "HS512"})
ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)

# Most specific first: PyJWT's errors form a tree. Labels of `InvalidToken.reason`.
_REASONS: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (jwt.ExpiredSignatureError, "expired", "the token has expired"),
    (jwt.ImmatureSignatureError, "not_yet_valid", "the token is not valid yet"),
    (jwt.InvalidIssuedAtError, "not_yet_valid", "the token was issued in the future"),
    (jwt.InvalidAudienceError, "audience", "the token is for another audience"),
    (jwt.InvalidIssuerError, "issuer", "the token comes from another issuer"),
    (jwt.InvalidAlgorithmError, "algorithm", "the token's algorithm is not accepted"),
    (jwt.InvalidSignatureError, "signature", "the token's signature does not match"),
    (jwt.exceptions.InvalidSubjectError, "claims", "the token's sub is not a string"),
    (jwt.exceptions.InvalidJTIError, "claims", "the token's jti is not a string"),
    (jwt.DecodeError, "malformed", "the token is not a well-formed JWT"),
)


class KeySource(Protocol):
    """Where a verifier finds keys.

    Attributes:
        only: the key of every token, whatever id it names; None where the id decides.
    """

    @property
    def only(self) -> Any | None:  # noqa: ANN401 - PyJWT takes many key types
        """See the class."""

    def find(self, key_id: str | None) -> Any | None:  # noqa: ANN401 - PyJWT takes many key types
        """The key with that id, or None when it is not known (yet)."""

    async def refresh(self) -> None:
        """Fetch keys, unless that happened just now.

        Raises:
            contract.errors.KeysUnavailable: they cannot be had at the moment.
        """


class FixedKey:
    """One key from the settings, whatever key id a token names."""

    def __init__(self, key: Any) -> None:  # noqa: ANN401
        self.only = key

    def find(self, key_id: str | None) -> Any | None:  # noqa: ANN401, ARG002
        """Always the key."""
        return self.only

    async def refresh(self) -> None:
        """Nothing to fetch."""


class UnknownKey(InvalidToken):
    """The token names a key that the key source does not hold; fetching may help."""

    def __init__(self) -> None:
        super().__init__("signature", "the token is signed with an unknown key")


class TokenVerifier:
    """Verifies tokens against one key source."""

    def __init__(
        self,
        keys: KeySource,
        *,
        algorithms: Sequence[str],
        audience: str | None,
        issuer: str | None,
        leeway_seconds: float,
    ) -> None:
        self._keys = keys
        self._algorithms = list(algorithms)
        self._audience = audience
        self._issuer = issuer
        self._leeway_seconds = leeway_seconds

    def verify(self, token: str) -> Claims:
        """The claims of a valid token, without waiting for anything.

        Raises:
            UnknownKey: `verify_fetching` may succeed.
            InvalidToken: the token identifies nobody.
        """
        if len(token) > TOKEN_MAX_CHARACTERS:
            raise InvalidToken(
                "malformed", f"expected a token of at most {TOKEN_MAX_CHARACTERS} characters"
            )
        try:
            payload = jwt.decode(
                token,
                self._key(token),
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_seconds,
                options={"require": ["exp", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise _refusal(error) from None
        issued_at = payload.get("iat")
        return Claims(
            payload["sub"],
            _scopes(payload.get("scope")),
            float(payload["exp"]),
            payload.get("jti"),
            None if issued_at is None else float(issued_at),
        )

    def _key(self, token: str) -> Any:  # noqa: ANN401
        """The key for a token; its header is read only where the id in it decides."""
        key = self._keys.only
        if key is None:
            key = self._keys.find(jwt.get_unverified_header(token).get("kid"))
        if key is None:
            raise UnknownKey
        return key

    async def verify_fetching(self, token: str) -> Claims:
        """As `verify`, but fetches keys when the token's is unknown.

        Raises:
            InvalidToken: the token identifies nobody.
            KeysUnavailable: the key is unknown and keys cannot be fetched at the moment.
        """
        try:
            return self.verify(token)
        except UnknownKey:
            await self._keys.refresh()
            return self.verify(token)


def algorithms_of(settings: ContractSettings) -> tuple[str, ...]:
    """The algorithms to accept: as set, or what fits the key source.

    Raises:
        ValueError: an algorithm that does not fit the key source, ``none`` among them. A public key
            taken for an HMAC secret would let anyone sign.
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
        ValueError: CLARION_JWT_PUBLIC_KEY is no public key in PEM.
    """
    if settings.jwt_secret:
        return FixedKey(settings.jwt_secret.get_secret_value())
    if settings.jwt_public_key:
        try:
            return FixedKey(load_pem_public_key(settings.jwt_public_key.encode()))
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("expected a public key in PEM as CLARION_JWT_PUBLIC_KEY") from None
    return None


def verifier_of(settings: ContractSettings) -> tuple[FixedKey | JwksKeys, TokenVerifier]:
    """The verifier that the settings describe, and its keys: a JWKS has to be run and closed.

    Raises:
        InvalidSettings: keys or algorithms that cannot be used.
    """
    try:
        keys = fixed_key(settings) or JwksKeys(settings.jwt_jwks_url or "")
        algorithms = algorithms_of(settings)
    except ValueError as error:
        raise InvalidSettings([str(error)]) from None
    return keys, TokenVerifier(
        keys,
        algorithms=algorithms,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        leeway_seconds=settings.jwt_leeway_seconds,
    )


def _refusal(error: Exception) -> InvalidToken:
    if isinstance(error, jwt.InvalidTokenError):
        if isinstance(error, jwt.MissingRequiredClaimError):
            return InvalidToken("claims", f"the token lacks the claim {error.claim}")
        for kind, reason, message in _REASONS:
            if isinstance(error, kind):
                return InvalidToken(reason, message)
    return InvalidToken("malformed", "the token is not a well-formed JWT")


def _scopes(scope: object) -> frozenset[str]:
    """``"a b"`` (RFC 8693) or ``["a", "b"]`` (seen in the wild)."""
    if isinstance(scope, str):
        return frozenset(scope.split())
    if isinstance(scope, list):
        return frozenset(name for name in scope if isinstance(name, str))
    return frozenset()
