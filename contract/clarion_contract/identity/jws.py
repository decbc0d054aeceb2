"""A signed token in its compact form (RFC 7515, section 7.1): taken apart, its signature checked.

Every handshake comes through here, so this is ours: PyJWT reads a token's characters in a Python
loop and prepares its key anew each time, 63 to 137 µs against 14 to 17. The cryptography, and what
is a fit key for which algorithm, stays PyJWT's.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import jwt
import msgspec
from jwt.algorithms import Algorithm, get_default_algorithms

from clarion_contract.events.errors import InvalidToken

ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Algorithms with a public key."""

# Tokens of one issuer and key share the text of their header.
_HEADERS_REMEMBERED: Final = 256


class Header(msgspec.Struct, frozen=True):
    """What of a JOSE header decides anything (RFC 7515, section 4.1).

    Attributes:
        alg: the algorithm that the token claims for itself.
        kid: the id of its key.
        crit: extensions that must be understood; here that is none.
        b64: False: an unencoded payload (RFC 7797), which a token never has.
    """

    alg: str
    kid: str | None = None
    crit: Any = None
    b64: Any = None


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token taken apart; nothing of it is to be trusted before `Signatures.check`."""

    header: Header
    payload: bytes
    signing_input: bytes
    signature: bytes


def parse(token: str) -> SignedToken:
    """Take a token apart.

    Raises:
        InvalidToken: not three segments of base64url, the first of them a JOSE header.
    """
    try:
        signing_input, _, signature = token.encode("ascii").rpartition(b".")
        header, _, payload = signing_input.partition(b".")
        return SignedToken(_header(header), _decoded(payload), signing_input, _decoded(signature))
    except (ValueError, RecursionError):
        raise InvalidToken("malformed", "the token is not a well-formed JWT") from None


class Signatures:
    """Checks signatures by a set of algorithms.

    Args:
        algorithms: the only ones that are accepted, whatever a token says of itself (RFC 8725,
            section 3.1).
        key: the key of all tokens, prepared once; None where each token has its own.
    """

    def __init__(self, algorithms: Sequence[str], key: Any | None = None) -> None:  # noqa: ANN401
        known = get_default_algorithms()
        self._algorithms: dict[str, Algorithm] = {name: known[name] for name in algorithms}
        self._prepared = {} if key is None else {name: self._fit(name, key) for name in algorithms}

    def check_algorithm(self, token: SignedToken) -> None:
        """Refuse a token whose algorithm is not accepted, before its key is looked for.

        Raises:
            InvalidToken: such a one, or one that asks for more than a plain signature.
        """
        if token.header.alg not in self._algorithms:
            raise InvalidToken("algorithm", "the token's algorithm is not accepted")
        if token.header.crit is not None or token.header.b64 is not None:
            raise InvalidToken("malformed", "the token's header asks for an unknown extension")

    def check(self, token: SignedToken, key: Any | None = None) -> None:  # noqa: ANN401
        """Let a token pass whose signature is right.

        Args:
            token: has passed `check_algorithm`.
            key: the token's own key, None where all have the same.

        Raises:
            InvalidToken: the signature is not right.
        """
        name = token.header.alg
        prepared = self._prepared[name] if key is None else self._fit(name, key)
        if prepared is None or not self._matches(token, prepared):
            raise InvalidToken("signature", "the token's signature does not match")

    def _matches(self, token: SignedToken, prepared: Any) -> bool:  # noqa: ANN401
        """Whether the signature is the key's; never where an issuer's RSA key is far too small."""
        try:
            algorithm = self._algorithms[token.header.alg]
            return algorithm.verify(token.signing_input, prepared, token.signature)
        except ValueError:  # `cryptography`: the digest does not fit into the key
            return False

    def _fit(self, name: str, key: Any) -> Any | None:  # noqa: ANN401 - PyJWT takes many key types
        """The key in the form that an algorithm wants; None where it does not fit.

        A public key is no HMAC secret: PyJWT refuses it.
        """
        try:
            return self._algorithms[name].prepare_key(key)
        except (jwt.InvalidKeyError, TypeError, ValueError):
            return None


@lru_cache(maxsize=_HEADERS_REMEMBERED)
def _header(segment: bytes) -> Header:
    return msgspec.json.decode(_decoded(segment), type=Header)


def _decoded(segment: bytes) -> bytes:
    """Strict base64url: `urlsafe_b64decode` itself passes over what is not in the alphabet.

    Some issuers pad, against RFC 7515, section 2; they are forgiven.
    """
    bare = segment.rstrip(b"=")
    decoded = urlsafe_b64decode(bare + b"=" * (-len(bare) % 4))
    if urlsafe_b64encode(decoded).rstrip(b"=") != bare:
        raise ValueError("expected base64url")
    return decoded
