"""Splits a signed token in compact form (RFC 7515, section 7.1) and checks its signature.

Every handshake runs this code, so it is our own. PyJWT reads the token's characters in a Python
loop: with HS256 it takes 32 µs for a token instead of 6, also with a prepared key. PyJWT still does
the cryptography and decides which key fits which algorithm. All figures are in
docs/decisions/0016-own-code-or-a-library.md.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.algorithms import Algorithm, get_default_algorithms

from clarion_contract.events.errors import InvalidToken

ASYMMETRIC: Final = frozenset(
    {
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
        "Ed25519",
    }
)  # fmt: skip
"""Algorithms with a public key."""

# RFC 9864 gives EdDSA a name for each curve. Who accepts the old name accepts the new one.
_EDDSA: Final = "EdDSA"
_ED25519: Final = "Ed25519"

# From base64url to base64, which the C functions know. The characters that only the latter has
# become others that neither has.
_STANDARD: Final = bytes.maketrans(b"-_+/", b"+/!!")

# Tokens of one issuer and key have identical header segments, so decoded headers are cached.
_HEADERS_REMEMBERED: Final = 256


class Header(msgspec.Struct, frozen=True):
    """The fields of a JOSE header that affect verification (RFC 7515, section 4.1).

    Attributes:
        alg: the algorithm that the token claims for itself.
        kid: the id of its key.
        crit: extensions that the verifier must understand; this one understands none.
        b64: False: an unencoded payload (RFC 7797), which tokens never have.
    """

    alg: str
    kid: str | None = None
    crit: Any = None
    b64: Any = None


class SignedToken(msgspec.Struct, frozen=True):
    """A token split into its parts. Trust none of them before `Signatures.check`."""

    header: Header
    payload: bytes
    signing_input: bytes
    signature: bytes


def parse(token: str) -> SignedToken:
    """Split a token into its parts.

    Raises:
        InvalidToken: the token is not three segments of base64url, or the first is no JOSE header.
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
        algorithms: the only accepted algorithms, whatever a token claims (RFC 8725, section 3.1).
        key: the key of all tokens, prepared once; None: each token has its own key.
    """

    def __init__(self, algorithms: Sequence[str], key: Any | None = None) -> None:  # noqa: ANN401
        known = get_default_algorithms()
        known[_ED25519] = known[_EDDSA]
        accepted = {*algorithms, _ED25519} if _EDDSA in algorithms else {*algorithms}
        self._algorithms: dict[str, Algorithm] = {name: known[name] for name in accepted}
        self._prepared = {} if key is None else {name: self._fit(name, key) for name in accepted}

    def check_algorithm(self, token: SignedToken) -> None:
        """Refuse a token whose algorithm is not accepted, before looking for its key.

        Raises:
            InvalidToken: the algorithm is not accepted, or the token demands more than a plain
                signature.
        """
        if token.header.alg not in self._algorithms:
            raise InvalidToken("algorithm", "the token's algorithm is not accepted")
        if token.header.crit is not None or token.header.b64 is not None:
            raise InvalidToken("malformed", "the token's header asks for an unknown extension")

    def check(self, token: SignedToken, keys: Sequence[Any] | None = None) -> None:
        """Raise unless the token's signature is right.

        Args:
            token: has passed `check_algorithm`.
            keys: those that may have signed the token; None: all tokens have the same key.

        Raises:
            InvalidToken: the signature is that of none of the keys.
        """
        name = token.header.alg
        if keys is None:
            matches = self._matches(token, self._prepared[name])
        else:
            matches = any(self._matches(token, self._fit(name, key)) for key in keys)
        if not matches:
            raise InvalidToken("signature", "the token's signature does not match")

    def _matches(self, token: SignedToken, prepared: Any) -> bool:  # noqa: ANN401
        """Whether the signature is the key's; never where an issuer's RSA key is far too small.

        None is no key.
        """
        if prepared is None:
            return False
        try:
            algorithm = self._algorithms[token.header.alg]
            return algorithm.verify(token.signing_input, prepared, token.signature)
        except ValueError:  # `cryptography`: the digest does not fit into the key
            return False

    def _fit(self, name: str, key: Any) -> Any | None:  # noqa: ANN401 - PyJWT takes many key types
        """The key prepared for an algorithm; None if it does not fit.

        For example, PyJWT refuses a public key as an HMAC secret.
        """
        if name == _ED25519 and not isinstance(key, Ed25519PublicKey):
            return None
        try:
            return self._algorithms[name].prepare_key(key)
        except (jwt.InvalidKeyError, TypeError, ValueError):
            return None


@lru_cache(maxsize=_HEADERS_REMEMBERED)
def _header(segment: bytes) -> Header:
    return msgspec.json.decode(_decoded(segment), type=Header)


def _decoded(segment: bytes) -> bytes:
    """Strict base64url: the decoder by itself skips characters outside the alphabet.

    Some issuers add padding, against RFC 7515, section 2; padding is accepted.
    """
    bare = segment.rstrip(b"=").translate(_STANDARD)
    decoded = a2b_base64(bare + b"=" * (-len(bare) % 4))
    if b2a_base64(decoded, newline=False).rstrip(b"=") != bare:
        raise ValueError("expected base64url")
    return decoded
