"""Key sets in every form in which issuers publish them."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.identity.key_set import InvalidKeySet, KeySet, PublishedKey, parse
from tests.contract.identity.issuer import jwk

RSA = rsa.generate_private_key(65_537, 2_048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    """Signed with its own key, as issuers publish them."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer.example")])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=7))
        .sign(key, hashes.SHA256())
    )


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def fitting(key: Any, **more: Any) -> set[str]:
    """The algorithms for which a set of this key alone has a candidate."""
    names = ("RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519", "HS256")
    key_set = parse(document(jwk(key, "k", **more)))
    return {name for name in names if key_set.find("k", name).keys}


def test_a_keys_type_decides_on_its_algorithms() -> None:
    assert fitting(RSA) == {"RS256", "RS512", "PS256"}
    assert fitting(EC) == {"ES256"}
    assert fitting(ec.generate_private_key(ec.SECP384R1())) == {"ES384"}
    assert fitting(ED) == {"EdDSA", "Ed25519"}


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
def test_ed25519_goes_by_both_names(name: str) -> None:
    assert fitting(ED, alg=name) == {"EdDSA", "Ed25519"}


def test_a_keys_own_algorithm_narrows_them() -> None:
    assert fitting(RSA, alg="PS256") == {"PS256"}
    with pytest.raises(InvalidKeySet, match="alg RS256 does not fit"):
        parse(document(jwk(EC, "k", alg="RS256")))


def test_certificates_by_key_id() -> None:
    """The form in which Firebase publishes its keys."""
    pem = certificate(RSA).public_bytes(Encoding.PEM).decode()
    key_set = parse(json.dumps({"one": pem, "two": "no certificate"}).encode())
    assert key_set.find("one", "RS256").keys == (RSA.public_key(),)
    assert key_set.ids == {"one"}


def test_a_key_that_is_only_a_certificate() -> None:
    der = certificate(RSA).public_bytes(Encoding.DER)
    entry = {"kty": "RSA", "kid": "k", "use": "sig", "x5c": [base64.b64encode(der).decode()]}
    assert parse(document(entry)).find("k", "RS256").keys == (RSA.public_key(),)


def test_a_byte_order_mark() -> None:
    assert parse(b"\xef\xbb\xbf" + document(jwk(RSA, "k"))).ids == {"k"}


def test_a_secret_half_is_no_key() -> None:
    secret = jwk(RSA, "k") | {
        name: base64.urlsafe_b64encode(number.to_bytes(256)).rstrip(b"=").decode()
        for name, number in (("d", RSA.private_numbers().d),)
    }
    with pytest.raises(InvalidKeySet):
        parse(document(secret))


def test_how_a_key_id_chooses() -> None:
    key_set = parse(document(jwk(RSA, "k"), jwk(EC, None), jwk(ED, "k")))
    rsa_key, ec_key, ed_key = (each.public_key() for each in (RSA, EC, ED))
    assert key_set.find("k", "RS256").keys == (rsa_key,)
    assert key_set.find("k", "EdDSA").keys == (ed_key,)
    others = key_set.find("k", "ES256")
    assert (others.keys, others.exist) == ((), True)
    assert key_set.find("unheard-of", "ES256").keys == (ec_key,)
    assert key_set.find("unheard-of", "RS256").keys == ()
    assert key_set.find(None, "RS256").keys == (rsa_key,)
    assert not key_set.find(None, "RS256").named


def test_the_candidates_of_one_token_are_bounded() -> None:
    """Each costs a signature check, and anybody can send a token without a key id."""
    keys = [PublishedKey(None, number, frozenset({"RS256"})) for number in range(100)]
    assert len(KeySet(keys).find(None, "RS256").keys) == 20


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "got an empty answer"),
        (b" \n", "got an empty answer"),
        (b"<html>", "expected JSON, got b'<html>'"),
        (b"[]", "expected a JSON object with a list of keys"),
        (b'{"error":"no"}', "expected a JSON object with a list of keys"),
        (b'{"keys":[]}', "expected a key that verifies signatures"),
    ],
)
def test_what_is_wrong_is_said(text: bytes, reason: str) -> None:
    with pytest.raises(InvalidKeySet) as caught:
        parse(text)
    assert reason in str(caught.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_any_json_for_a_key_is_a_key_set_error(value: Any) -> None:
    with pytest.raises(InvalidKeySet):
        parse(json.dumps({"keys": [value]}).encode())


@given(st.binary())
def test_any_bytes_for_a_key_set_are_a_key_set_error(document: bytes) -> None:
    with pytest.raises(InvalidKeySet):
        parse(document)


def test_an_unusual_curve() -> None:
    with pytest.raises(InvalidKeySet, match="fits no algorithm"):
        parse(document(jwk(ec.generate_private_key(ec.SECP256K1()), "k")))
    x = ed448.Ed448PrivateKey.generate().public_key().public_bytes_raw()
    entry = {"kty": "OKP", "crv": "Ed448", "kid": "k",
             "x": base64.urlsafe_b64encode(x).rstrip(b"=").decode()}  # fmt: skip
    key_set = parse(document(entry))
    assert key_set.find("k", "EdDSA").keys
    assert not key_set.find("k", "Ed25519").keys
