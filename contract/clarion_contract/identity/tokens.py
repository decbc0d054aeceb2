"""Verifies tokens: the JWTs (RFC 7519) of users and of publishing services.

Verification never waits, with one exception. If the JWKS does not hold the token's key yet,
`clarion_contract.identity.jwks` fetches it, at most once per interval however many tokens come in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from clarion_contract.events.errors import InvalidToken
from clarion_contract.identity import jws
from clarion_contract.identity.claims import NO_LISTS, Claims
from clarion_contract.identity.jwks import JwksKeys
from clarion_contract.identity.jws import ASYMMETRIC
from clarion_contract.service.settings import ContractSettings, InvalidSettings

TOKEN_MAX_CHARACTERS: Final = 8_192

NO_CLAIMS: Final[Mapping[str, str]] = MappingProxyType({})
"""No claims that list names."""

SYMMETRIC: Final = frozenset({"HS256", "HS384", "HS512"})


class KeySource(Protocol):
    """The place where a verifier finds keys.

    Attributes:
        only: the key of every token, whatever key id the token names; None: the id decides.
    """

    @property
    def only(self) -> Any | None:  # noqa: ANN401 - PyJWT takes many key types
        """See the class."""

    def find(self, key_id: str | None, algorithm: str) -> Any | None:  # noqa: ANN401 - PyJWT's
        """The key with that id, or None when it is not known (yet).

        Raises:
            InvalidToken: the key is for another algorithm.
        """

    async def refresh(self) -> None:
        """Fetch keys, unless that was done a moment ago.

        Raises:
            KeysUnavailable: no keys can be fetched at the moment.
        """


class Keys(KeySource, Protocol):
    """A key source with a background job; a service runs it and closes it."""

    @property
    def known(self) -> bool:
        """Whether there are any keys: without them no token can be accepted or refused."""

    @property
    def failure(self) -> str | None:
        """Why the last fetch brought no keys; None: it succeeded, or none was needed."""

    async def run(self) -> None:
        """Keep the keys fresh; returns at once if that takes no work."""

    async def aclose(self) -> None:
        """Free whatever fetching uses."""


class FixedKey:
    """One key from the settings, used whatever key id a token names."""

    known = True
    failure = None

    def __init__(self, key: Any) -> None:  # noqa: ANN401
        self.only = key

    def find(self, key_id: str | None, algorithm: str) -> Any | None:  # noqa: ANN401, ARG002
        """The key, always."""
        return self.only

    async def refresh(self) -> None:
        """Nothing to fetch."""

    async def run(self) -> None:
        """Nothing to keep fresh."""

    async def aclose(self) -> None:
        """Nothing to free."""


class UnknownKey(InvalidToken):
    """The token names a key that the key source does not hold. Fetching keys may help."""

    def __init__(self) -> None:
        super().__init__("signature", "the token is signed with an unknown key")


class Payload(msgspec.Struct, frozen=True):
    """The claims that Clarion reads (RFC 7519, section 4.1), before they are checked."""

    sub: str | None = None
    exp: float | None = None
    nbf: float | None = None
    iat: float | None = None
    iss: Any = None
    aud: str | list[str] | None = None
    jti: str | None = None
    scope: Any = None


class TokenVerifier:
    """Verifies tokens against one key source.

    Args:
        lists: claims that list names, such as topics: what `Claims.lists` calls each, and its name
            in tokens.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        algorithms: Sequence[str],
        audience: str | None,
        issuer: str | None,
        leeway_seconds: float,
        lists: Mapping[str, str] = NO_CLAIMS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._lists = lists
        self._payloads = _payloads(lists)
        self._signatures = jws.Signatures(algorithms, keys.only)
        self._audience = audience
        self._issuer = issuer
        self._leeway_seconds = leeway_seconds
        self._clock = clock

    def verify(self, token: str) -> Claims:
        """The claims of a valid token; never waits.

        Raises:
            UnknownKey: `verify_fetching` may succeed.
            InvalidToken: the token identifies no user or service.
        """
        if not token:
            raise InvalidToken("malformed", "expected a token, got an empty one")
        if len(token) > TOKEN_MAX_CHARACTERS:
            raise InvalidToken(
                "malformed", f"expected a token of at most {TOKEN_MAX_CHARACTERS} characters"
            )
        signed = jws.parse(token)
        self._signatures.check_algorithm(signed)
        self._signatures.check(signed, self._own_key(signed.header))
        try:
            payload = self._payloads.decode(signed.payload)
        except msgspec.ValidationError as error:
            raise InvalidToken("claims", f"the token's claims: {error}") from None
        except (ValueError, RecursionError):
            raise InvalidToken("malformed", "the token's claims are not valid JSON") from None
        return self._checked(payload)

    def _own_key(self, header: jws.Header) -> Any | None:  # noqa: ANN401
        """The key that a token names; None if all tokens have the same key."""
        if self._keys.only is not None:
            return None
        key = self._keys.find(header.kid, header.alg)
        if key is None:
            raise UnknownKey
        return key

    def _checked(self, payload: Payload) -> Claims:
        """Check times, issuer and audience (RFC 7519, section 4.1)."""
        now, leeway = self._clock(), self._leeway_seconds
        if payload.sub is None or payload.exp is None:
            raise _lacks("sub" if payload.sub is None else "exp")
        if payload.exp <= now - leeway:
            raise InvalidToken("expired", "the token has expired")
        if payload.nbf is not None and payload.nbf > now + leeway:
            raise InvalidToken("not_yet_valid", "the token is not valid yet")
        if payload.iat is not None and payload.iat > now + leeway:
            raise InvalidToken("not_yet_valid", "the token was issued in the future")
        self._check_issuer(payload.iss)
        self._check_audience(payload.aud)
        return Claims(
            payload.sub,
            _scopes(payload.scope),
            payload.exp,
            payload.jti,
            payload.iat,
            _names(payload, self._lists) if self._lists else NO_LISTS,
        )

    def _check_issuer(self, issuer: object) -> None:
        if self._issuer is None:
            return
        if issuer is None:
            raise _lacks("iss")
        if issuer != self._issuer:
            raise InvalidToken("issuer", "the token comes from another issuer")

    def _check_audience(self, audience: str | list[str] | None) -> None:
        """Refuse a token that names an audience if the settings name none for this service."""
        if not audience:
            if self._audience is not None:
                raise _lacks("aud")
        elif self._audience not in ([audience] if isinstance(audience, str) else audience):
            raise InvalidToken("audience", "the token is for another audience")

    async def verify_fetching(self, token: str) -> Claims:
        """As `verify`, but fetch keys if the token's key is unknown.

        Raises:
            InvalidToken: the token identifies no user or service.
            KeysUnavailable: the key is unknown, and keys cannot be fetched at the moment.
        """
        try:
            return self.verify(token)
        except UnknownKey:
            await self._keys.refresh()
            return self.verify(token)


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
        ValueError: CLARION_JWT_PUBLIC_KEY is not a public key in PEM.
    """
    if settings.jwt_secret:
        return FixedKey(settings.jwt_secret.get_secret_value())
    if settings.jwt_public_key:
        try:
            return FixedKey(load_pem_public_key(settings.jwt_public_key.encode()))
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("expected a public key in PEM as CLARION_JWT_PUBLIC_KEY") from None
    return None


def verifier_of(
    settings: ContractSettings, *, lists: Mapping[str, str] = NO_CLAIMS
) -> tuple[Keys, TokenVerifier]:
    """The verifier that the settings describe, and its keys.

    Args:
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
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        leeway_seconds=settings.jwt_leeway_seconds,
        lists=lists,
    )


def _payloads(lists: Mapping[str, str]) -> msgspec.json.Decoder[Payload]:
    """Decodes a token's claims, those in ``lists`` included."""
    if not lists:
        return msgspec.json.Decoder(Payload)
    fields = [(_field(name), tuple[str, ...] | None, None) for name in lists]
    renamed = {_field(name): claim for name, claim in lists.items()}
    cls = msgspec.defstruct("Payload", fields, bases=(Payload,), frozen=True, rename=renamed)
    return msgspec.json.Decoder(cls)


def _names(payload: Payload, lists: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    found = {name: names for name in lists if (names := getattr(payload, _field(name)))}
    return found or NO_LISTS


def _field(name: str) -> str:
    return f"list_{name}"


def _lacks(claim: str) -> InvalidToken:
    return InvalidToken("claims", f"the token lacks the claim {claim}")


def _scopes(scope: object) -> frozenset[str]:
    """The scopes in ``"a b"`` (RFC 8693) or in ``["a", "b"]`` (some issuers write a list).

    Only spaces separate names (RFC 6749, section 3.3), not every Unicode white space.
    """
    if isinstance(scope, str):
        return frozenset(scope.split(" ")) - {""}
    if isinstance(scope, list):
        return frozenset(name for name in scope if isinstance(name, str))
    return frozenset()
