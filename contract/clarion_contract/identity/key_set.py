"""Reads an issuer's key set, and finds the keys that may have signed a token. Pure.

Issuers publish keys in two forms: a JWK set (RFC 7517), and, as Firebase does, an object that maps
key ids to X.509 certificates in PEM.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

from clarion_contract.identity.jws import ASYMMETRIC
from clarion_contract.identity.keys import Candidates

# Each candidate costs a signature check, and anybody can send a token without a key id.
_CANDIDATES_MAX: Final = 20
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----"
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_ED25519: Final = frozenset({"EdDSA", "Ed25519"})
_ED448: Final = frozenset({"EdDSA"})

_log = structlog.get_logger(__name__)


class InvalidKeySet(ValueError):
    """The document holds no key that verifies tokens; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A key of the set.

    Attributes:
        id: the key's id; None: it has none.
        key: a public key of `cryptography`.
        algorithms: those that the key is for, by its type and its own ``alg``.
    """

    id: str | None
    key: Any
    algorithms: frozenset[str]


class KeySet:
    """The keys of one document, sorted for looking them up.

    Attributes:
        ids: of the keys that have one.
    """

    def __init__(self, keys: Iterable[PublishedKey] = ()) -> None:
        self._named: dict[tuple[str, str], Candidates] = {}
        self._nameless: dict[str, Candidates] = {}
        self._all: dict[str, Candidates] = {}
        ids = set()
        for key in keys:
            for algorithm in key.algorithms:
                _add(self._all, algorithm, key.key)
                if key.id is None:
                    _add(self._nameless, algorithm, key.key)
                else:
                    _add(self._named, (key.id, algorithm), key.key, named=True)
                    ids.add(key.id)
        self.ids = frozenset(ids)

    def __len__(self) -> int:
        return len(self._all)

    def find(self, key_id: str | None, algorithm: str) -> Candidates:
        """The keys that may have signed a token.

        A key id chooses among the keys that have one. If no key has the token's id, the keys
        without an id are candidates; a token without an id may be signed with any key.
        """
        if key_id is None:
            return self._all.get(algorithm, _NONE)
        if key_id in self.ids:
            return self._named.get((key_id, algorithm), _OTHERS)
        return self._nameless.get(algorithm, _NONE)


_NONE: Final = Candidates(())
_OTHERS: Final = Candidates((), named=True, exist=True)


def _add(index: dict[Any, Candidates], at: Any, key: Any, *, named: bool = False) -> None:  # noqa: ANN401
    keys = index.get(at, _NONE).keys
    if len(keys) < _CANDIDATES_MAX:
        index[at] = Candidates((*keys, key), named=named, exist=named)


def parse(document: bytes) -> KeySet:
    """The keys of a document that can verify a token. Other keys are left out and logged.

    Raises:
        InvalidKeySet: no key of the document can verify a token.
    """
    if not document.strip():
        raise InvalidKeySet("expected a JWK set, got an empty answer")
    try:
        value = msgspec.json.decode(document.removeprefix(_BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise InvalidKeySet(f"expected JSON, got {document[:40]!r}") from None
    found: list[PublishedKey] = []
    refused: list[str] = []
    for number, (key_id, entry) in enumerate(_entries(value)):
        try:
            found.append(_certified(key_id, entry) if key_id is not None else _key(entry))
        except InvalidKeySet as error:
            refused.append(f"key {number}: {error}")
        except Exception as error:  # noqa: BLE001 - PyJWT takes any value for what it expects
            refused.append(f"key {number}: {type(error).__name__}: {error}".splitlines()[0])
    if not found:
        raise InvalidKeySet("; ".join(["expected a key that verifies signatures", *refused[:3]]))
    if refused:
        _log.info("keys left out of the issuer's set", reasons=refused[:10])
    return KeySet(found)


def _entries(value: object) -> Iterator[tuple[str | None, object]]:
    """The JWKs of a set, or the certificates of a map with their key ids."""
    if not isinstance(value, dict):
        raise InvalidKeySet("expected a JSON object with a list of keys")
    if isinstance(value.get("keys"), list):
        return ((None, each) for each in value["keys"])
    certificates = {
        key_id: text
        for key_id, text in value.items()
        if isinstance(text, str) and text.lstrip().startswith(_CERTIFICATE)
    }
    if not certificates:
        raise InvalidKeySet(_no_key_set(value))
    return iter(certificates.items())


def _certified(key_id: str, certificate: object) -> PublishedKey:
    key = load_pem_x509_certificate(str(certificate).encode()).public_key()
    return PublishedKey(key_id, key, _fitting(key, None))


def _key(value: object) -> PublishedKey:
    """One JWK of the set.

    Raises:
        InvalidKeySet: the key is not meant for verifying signatures (RFC 7517, sections 4.2 to
            4.4), or it is a shared secret, which is no secret once published.
    """
    if not isinstance(value, dict):
        raise InvalidKeySet("expected an object")
    key_id, use, algorithm = value.get("kid"), value.get("use"), value.get("alg")
    operations = value.get("key_ops")
    if key_id is not None and not isinstance(key_id, str):
        raise InvalidKeySet("expected kid to be a string")
    if use not in (None, "sig"):
        raise InvalidKeySet(f"its use is {use!r}, not 'sig'")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        raise InvalidKeySet("its key_ops lack 'verify'")
    if algorithm is not None and algorithm not in ASYMMETRIC:
        raise InvalidKeySet(
            f"expected its alg to be one of {', '.join(sorted(ASYMMETRIC))}, got {algorithm!r}"
        )
    if value.get("kty") == "oct":
        raise InvalidKeySet("it is a shared secret")
    key = _public_key(value)
    return PublishedKey(key_id, key, _fitting(key, algorithm))


def _public_key(value: dict[str, Any]) -> Any:  # noqa: ANN401 - one of cryptography's many
    chain = value.get("x5c")
    if value.get("kty") == "RSA" and "n" not in value and isinstance(chain, list) and chain:
        return load_der_x509_certificate(b64decode(chain[0])).public_key()
    # The key's type says enough, and PyJWT does not know the names of RFC 9864.
    algorithm = "EdDSA" if value.get("kty") == "OKP" else None
    return jwt.PyJWK({**value, "alg": None}, algorithm).key


def _fitting(key: object, algorithm: str | None) -> frozenset[str]:
    """The algorithms that a key is for.

    Raises:
        InvalidKeySet: its type fits none, or not its own ``alg``.
    """
    fitting: frozenset[str] = frozenset()
    if isinstance(key, RSAPublicKey):
        fitting = _RSA
    elif isinstance(key, EllipticCurvePublicKey):
        fitting = frozenset({_CURVES[key.curve.name]} if key.curve.name in _CURVES else ())
    elif isinstance(key, Ed25519PublicKey):
        fitting = _ED25519
    elif isinstance(key, Ed448PublicKey):
        fitting = _ED448
    if not fitting:
        raise InvalidKeySet("its type fits no algorithm for signatures")
    if algorithm is None or (fitting == _ED25519 and algorithm in _ED25519):
        return fitting
    if algorithm not in fitting:
        raise InvalidKeySet(f"its alg {algorithm} does not fit its type")
    return frozenset({algorithm})


def _no_key_set(value: dict[str, Any]) -> str:
    expected = "expected a JSON object with a list of keys"
    if isinstance(value.get("jwks_uri"), str):
        return f"{expected}, got a discovery document, which says: {value['jwks_uri'][:200]}"
    return expected
