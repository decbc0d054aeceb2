"""Our reading of signed tokens agrees with PyJWT's, which it replaces in handshakes."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import example, given
from hypothesis import strategies as st

from clarion_contract.events.errors import InvalidToken
from clarion_contract.identity import jws
from clarion_contract.identity.keys import FixedKey
from clarion_contract.identity.tokens import TokenVerifier
from tests.conftest import SECRET

NOW = int(time.time())
EC_KEY = ec.generate_private_key(ec.SECP256R1())

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=2),
    max_leaves=4,
)
times = st.sampled_from([NOW - 3_600, NOW + 3_600]) | json_values
names = st.sampled_from(["clarion", "other", ""])
claims = st.fixed_dictionaries(
    {},
    optional={
        "sub": st.text(max_size=5) | json_values,
        "exp": times,
        "nbf": times,
        "iat": times,
        "iss": names | json_values,
        "aud": names | st.lists(names, max_size=2) | json_values,
        "jti": st.text(max_size=5),
        "scope": json_values,
        "other": json_values,
    },
)
headers = st.fixed_dictionaries(
    {"alg": st.sampled_from(["HS256", "HS384", "none", "RS256"])},
    optional={
        "typ": st.just("JWT"),
        "kid": st.text(max_size=5),
        "crit": st.just(["b64"]),
        "b64": st.just(False),
    },
)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(header: dict[str, Any], payload: object, secret: str = SECRET) -> str:
    """Signed with HS256, whatever the header says."""
    signing_input = f"{segment(header)}.{segment(payload)}"
    algorithm = jwt.algorithms.get_default_algorithms()["HS256"]
    signature = algorithm.sign(signing_input.encode(), algorithm.prepare_key(secret))
    return f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def pyjwt_accepts(token: str, audience: str | None, issuer: str | None) -> bool:
    try:
        jwt.decode(
            token,
            SECRET,
            algorithms=["HS256"],
            audience=audience,
            issuer=issuer,
            options={"require": ["exp", "sub"]},
        )
    except (jwt.PyJWTError, TypeError):
        return False
    return True


def we_accept(token: str, audience: str | None, issuer: str | None) -> bool:
    verifier = TokenVerifier(
        FixedKey(SECRET),
        algorithms=["HS256"],
        audiences=[audience] if audience else [],
        issuers=[issuer] if issuer else [],
    )
    try:
        verifier.verify(token)
    except InvalidToken:
        return False
    return True


@given(
    header=headers,
    payload=claims,
    secret=st.sampled_from([SECRET, SECRET[::-1]]),
    audience=st.sampled_from([None, "clarion"]),
    issuer=st.sampled_from([None, "clarion"]),
)
@example({"alg": "HS256"}, {"sub": "a", "exp": NOW + 3_600}, SECRET, None, None)
def test_accepts_nothing_that_pyjwt_refuses(
    header: dict[str, Any],
    payload: dict[str, Any],
    secret: str,
    audience: str | None,
    issuer: str | None,
) -> None:
    token = signed(header, payload, secret)
    assert not we_accept(token, audience, issuer) or pyjwt_accepts(token, audience, issuer)


@given(
    payload=st.fixed_dictionaries(
        {"sub": st.text(min_size=1, max_size=5), "exp": st.just(NOW + 3_600)},
        optional={
            "nbf": st.just(NOW - 60),
            "iat": st.just(NOW - 60) | st.just(NOW - 60.5),
            "iss": st.just("clarion"),
            "aud": st.just("clarion") | st.just(["other", "clarion"]),
            "jti": st.text(max_size=5),
            "scope": json_values,
            "other": json_values,
        },
    ),
    audience=st.sampled_from([None, "clarion"]),
    issuer=st.sampled_from([None, "clarion"]),
)
def test_accepts_all_well_formed_tokens_that_pyjwt_accepts(
    payload: dict[str, Any], audience: str | None, issuer: str | None
) -> None:
    """Claims of a wrong type that PyJWT accepts, such as an `exp` in a string, are refused."""
    token = signed({"alg": "HS256", "typ": "JWT"}, payload)
    assert we_accept(token, audience, issuer) == pyjwt_accepts(token, audience, issuer)


def test_padded_segments() -> None:
    """Some issuers add padding, against RFC 7515, section 2."""
    token = signed({"alg": "HS256"}, {"sub": "a", "exp": NOW + 3_600})
    head, payload, signature = token.split(".")
    signature += "=" * (-len(signature) % 4)
    assert we_accept(f"{head}.{payload}.{signature}", None, None)


@pytest.mark.parametrize("text", ["a!b", "ab\n", "a", "YR", "a.b.c", "ab+d", "ab/d"])
def test_base64url_is_strict(text: str) -> None:
    """`YR` has bits set after the last byte (RFC 4648, section 3.5)."""
    with pytest.raises(InvalidToken):
        jws.parse(f"{segment({'alg': 'HS256'})}.e30.{text}")


def test_a_key_prepared_once_and_a_key_of_each_token() -> None:
    token = jws.parse(jwt.encode({"sub": "a"}, EC_KEY, "ES256"))
    jws.Signatures(["ES256"], EC_KEY.public_key()).check(token)
    jws.Signatures(["ES256"]).check(token, [EC_KEY.public_key()])
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    for signatures, keys in (
        (jws.Signatures(["ES256"], other), None),
        (jws.Signatures(["ES256"]), [other]),
        (jws.Signatures(["ES256"]), []),
        (jws.Signatures(["ES256"], SECRET), None),
    ):
        with pytest.raises(InvalidToken, match="signature"):
            signatures.check(token, keys)


def test_each_of_several_keys_is_tried() -> None:
    token = jws.parse(jwt.encode({"sub": "a"}, EC_KEY, "ES256"))
    others = [ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(2)]
    jws.Signatures(["ES256"]).check(token, [*others, EC_KEY.public_key()])


@pytest.mark.parametrize(
    ("accepted", "named", "passes"),
    [("EdDSA", "EdDSA", True), ("EdDSA", "Ed25519", True), ("Ed25519", "Ed25519", True),
     ("Ed25519", "EdDSA", False), ("ES256", "Ed25519", False)],
)  # fmt: skip
@pytest.mark.parametrize("fixed", [True, False])
def test_ed25519_has_two_names(accepted: str, named: str, *, passes: bool, fixed: bool) -> None:
    """RFC 9864 gives EdDSA a name for each curve; issuers write either."""
    key = ed25519.Ed25519PrivateKey.generate()
    signing_input = f"{segment({'alg': named})}.{segment({'sub': 'a'})}".encode()
    signature = base64.urlsafe_b64encode(key.sign(signing_input)).rstrip(b"=")
    token = jws.parse((signing_input + b"." + signature).decode())
    signatures = jws.Signatures([accepted], key.public_key() if fixed else None)
    if passes:
        signatures.check_algorithm(token)
        signatures.check(token, None if fixed else [key.public_key()])
    else:
        with pytest.raises(InvalidToken, match="algorithm"):
            signatures.check_algorithm(token)


def test_ed25519_means_this_curve() -> None:
    key = ed448.Ed448PrivateKey.generate()
    signing_input = f"{segment({'alg': 'Ed25519'})}.{segment({'sub': 'a'})}".encode()
    token = jws.SignedToken(jws.Header("Ed25519"), b"{}", signing_input, key.sign(signing_input))
    with pytest.raises(InvalidToken, match="signature"):
        jws.Signatures(["EdDSA"]).check(token, [key.public_key()])


@pytest.mark.parametrize("name", ["RS512", "PS512"])
def test_an_rsa_key_that_is_too_small_for_its_algorithm_verifies_nothing(name: str) -> None:
    """An issuer may publish one; `cryptography` raises when it is used."""
    numbers = rsa.RSAPublicNumbers(65_537, (1 << 399) + 1)
    token = jws.SignedToken(jws.Header(name), b"{}", b"a.b", bytes(50))
    with pytest.raises(InvalidToken, match="signature"):
        jws.Signatures([name]).check(token, [numbers.public_key()])
