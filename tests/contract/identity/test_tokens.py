"""Tokens: the claims of valid ones, and every reason why a token is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.errors import InvalidToken
from clarion_contract.identity.claims import Claims
from clarion_contract.identity.keys import Candidates, FixedKey
from clarion_contract.identity.tokens import (
    TokenVerifier,
    UnknownKey,
    algorithms_of,
    fixed_key,
)
from clarion_contract.service.settings import ContractSettings
from tests.conftest import SECRET

RSA_KEY = rsa.generate_private_key(65_537, 2_048)
RSA_PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC_PEM = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def verifier(key: Any = SECRET, **options: Any) -> TokenVerifier:
    defaults = {"algorithms": ["HS256"], "leeway_seconds": 0}
    return TokenVerifier(FixedKey(key), **{**defaults, **options})


def claims(**changes: Any) -> dict[str, Any]:
    """Valid claims; None removes one."""
    payload = {"sub": "alice", "exp": time.time() + 60, **changes}
    return {name: value for name, value in payload.items() if value is not None}


def token(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def reason(text: str, against: TokenVerifier | None = None) -> str:
    with pytest.raises(InvalidToken) as caught:
        (against or verifier()).verify(text)
    assert text not in str(caught.value) or not text
    return caught.value.reason


def test_a_good_token() -> None:
    expires = int(time.time()) + 60
    assert verifier().verify(token(exp=expires, scope="a b")) == Claims(
        "alice", frozenset({"a", "b"}), expires
    )


def test_what_a_token_can_be_revoked_by() -> None:
    issued = int(time.time()) - 5
    verified = verifier().verify(token(jti="one", iat=issued))
    assert (verified.token_id, verified.issued_at) == ("one", issued)
    assert reason(token(jti=1)) == "claims"


def test_lists_of_names_are_read_under_their_names_in_tokens() -> None:
    listing = verifier(lists={"teams": "https://app.example.com/teams", "rooms": "rooms"})
    listed = token(**{"https://app.example.com/teams": ["a", "b"], "teams": ["no"], "rooms": []})
    assert listing.verify(listed).lists == {"teams": ("a", "b")}
    assert verifier().verify(listed).lists == {}
    for wrong in ("a b", [1], {"a": 1}):
        with pytest.raises(InvalidToken, match="the token's claims: Expected") as refused:
            listing.verify(token(rooms=wrong))
        assert refused.value.reason == "claims"


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        ("a  b ", {"a", "b"}),
        (["a", "b c", 1], {"a", "b c"}),
        ("a\u00a0b c\u2003d e\tf g\nh", {"a\u00a0b", "c\u2003d", "e\tf", "g\nh"}),
        ("", set()),
        (None, set()),
        ({"a": 1}, set()),
        (5, set()),
    ],
)
def test_scopes(scope: Any, scopes: set[str]) -> None:
    assert verifier().verify(token(scope=scope)).scopes == scopes


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"exp": time.time() - 60}, "expired"),
            ({"nbf": time.time() + 3_600}, "not_yet_valid"),
            ({"iat": time.time() + 3_600}, "not_yet_valid"),
            ({"exp": None}, "claims"),
            ({"sub": None}, "claims"),
            ({"aud": "someone"}, "audience"),
        ],
    )
    def test_claims(self, changes: dict[str, Any], expected: str) -> None:
        assert reason(token(**changes)) == expected

    @pytest.mark.parametrize("audience", [None, "others", ["others", "more"]])
    def test_another_audience(self, audience: Any) -> None:
        strict = verifier(audiences=["more of them", "clarion"])
        assert reason(token(aud=audience), strict) in {"audience", "claims"}
        assert strict.verify(token(aud=["others", "clarion"])).subject == "alice"

    @pytest.mark.parametrize("issuer", [None, "https://other"])
    def test_another_issuer(self, issuer: str | None) -> None:
        strict = verifier(issuers=["https://other.example", "https://issuer"])
        assert reason(token(iss=issuer), strict) in {"issuer", "claims"}
        assert strict.verify(token(iss="https://issuer")).subject == "alice"

    def test_a_foreign_signature(self) -> None:
        assert reason(token("another secret of 32 bytes or more")) == "signature"

    def test_a_changed_payload(self) -> None:
        header, _, signature = token().split(".")
        assert reason(f"{header}.{segment(claims(sub='admin'))}.{signature}") == "signature"

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
    @pytest.mark.parametrize("signature", ["", "AAAA"])
    def test_no_algorithm(self, algorithm: str, signature: str) -> None:
        header = segment({"alg": algorithm, "typ": "JWT"})
        assert reason(f"{header}.{segment(claims())}.{signature}") == "algorithm"

    @pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
    def test_an_algorithm_that_is_not_accepted(self, algorithm: str) -> None:
        long_secret = SECRET * 2
        assert reason(token(long_secret, algorithm), verifier(long_secret)) == "algorithm"

    def test_a_public_key_is_no_secret(self) -> None:
        """The classic attack: an HMAC with the public key, which everyone has."""
        signing_input = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(claims())}"
        digest = hmac.digest(RSA_PEM, signing_input.encode(), hashlib.sha256)
        forged = f"{signing_input}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
        settings = ContractSettings(jwt_public_key=RSA_PEM.decode())
        key = fixed_key(settings)
        assert key is not None
        careful = TokenVerifier(key, algorithms=algorithms_of(settings), leeway_seconds=0)
        assert reason(forged, careful) == "algorithm"
        careless = verifier(key.only, algorithms=["HS256", "RS256"])
        assert reason(forged, careless) in {"malformed", "algorithm", "signature"}

    def test_keys_of_another_kind(self) -> None:
        assert reason(token(EC_KEY, "ES256"), verifier(RSA_KEY.public_key(), algorithms=["RS256"]))
        both = verifier(RSA_KEY.public_key(), algorithms=["RS256", "ES256"])
        assert reason(token(EC_KEY, "ES256"), both) in {"malformed", "signature"}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            ".",
            "..",
            "a.b.c",
            "a.b.c.d",
            "e30.e30.",
            "\u00e9.\u00e9.\u00e9",
            "\ud800",
            "x" * 24_577,
            f"{segment([])}.{segment({})}.x",
            f"{segment({'alg': 5})}.{segment({})}.x",
            f"{segment({'alg': 'HS256', 'kid': 5})}.{segment({})}.x",
            f"{segment({'alg': 'HS256', 'crit': ['x'], 'x': 1})}.{segment({})}.x",
            base64.urlsafe_b64encode(b"[" * 5_000).decode() + ".e30.x",
            base64.urlsafe_b64encode(b'{"alg":"HS256","a":' + b"[" * 5_000).decode() + ".e30.x",
        ],
    )
    def test_nonsense(self, text: str) -> None:
        assert reason(text) in {"malformed", "algorithm"}

    @pytest.mark.parametrize(
        "payload",
        [
            [],
            1,
            {"sub": 5, "exp": 4e9},
            {"sub": None, "exp": 4e9},
            {"sub": "a", "exp": "soon"},
            {"sub": "a", "exp": float("inf")},
            {"sub": "a", "exp": float("nan")},
            {"sub": "a", "exp": [1]},
            {"sub": "a", "exp": None},
        ],
    )
    def test_signed_nonsense(self, payload: object) -> None:
        signed = jwt.api_jws.encode(json.dumps(payload).encode(), SECRET, "HS256")
        assert reason(signed) in {"malformed", "claims", "expired"}

    @given(st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
    def test_whatever_comes_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidToken):
            verifier().verify(text)

    @given(st.integers(0, 10_000), st.integers(0, 255))
    def test_no_changed_byte_passes(self, position: int, byte: int) -> None:
        """Except in a signature's last character, where some bits do not count (RFC 4648, 3.5)."""
        good = token(exp=4_000_000_000)
        position %= len(good) - 1
        changed = good[:position] + chr(byte) + good[position + 1 :]
        if changed != good:
            with pytest.raises(InvalidToken):
                verifier().verify(changed)


def test_leeway() -> None:
    late = token(exp=time.time() - 3)
    assert reason(late) == "expired"
    assert verifier(leeway_seconds=10).verify(late).subject == "alice"


@pytest.mark.parametrize(
    ("key", "pem", "algorithm"), [(RSA_KEY, RSA_PEM, "RS256"), (EC_KEY, EC_PEM, "ES256")]
)
def test_public_keys(key: Any, pem: bytes, algorithm: str) -> None:
    settings = ContractSettings(jwt_public_key=pem.decode())
    public = fixed_key(settings)
    assert public is not None
    strict = TokenVerifier(public, algorithms=algorithms_of(settings), leeway_seconds=0)
    assert strict.verify(token(key, algorithm)).subject == "alice"


class TestAlgorithms:
    def test_follow_the_key_source(self) -> None:
        assert algorithms_of(ContractSettings(jwt_secret=SECRET)) == ("HS256",)
        jwks = ContractSettings(jwt_jwks_url="https://issuer/jwks")
        assert algorithms_of(jwks) == ("RS256", "ES256")
        assert fixed_key(jwks) is None

    @pytest.mark.parametrize(
        ("source", "algorithms"),
        [
            ({"jwt_secret": SECRET}, ["RS256"]),
            ({"jwt_secret": SECRET}, ["HS256", "none"]),
            ({"jwt_public_key": RSA_PEM.decode()}, ["HS256"]),
            ({"jwt_jwks_url": "https://issuer/jwks"}, ["RS256", "HS512"]),
            ({"jwt_jwks_url": "https://issuer/jwks"}, ["none"]),
        ],
    )
    def test_must_fit_the_key_source(self, source: dict[str, Any], algorithms: list[str]) -> None:
        with pytest.raises(ValueError, match="CLARION_JWT_ALGORITHMS"):
            algorithms_of(ContractSettings(**source, jwt_algorithms=algorithms))

    def test_a_key_that_is_none(self) -> None:
        settings = ContractSettings(jwt_public_key="-----BEGIN PUBLIC KEY-----\nx")
        with pytest.raises(ValueError, match="CLARION_JWT_PUBLIC_KEY"):
            fixed_key(settings)


class LateKeys:
    """Knows its key only after a refresh."""

    only = None

    def __init__(self) -> None:
        self.keys: tuple[str, ...] = ()
        self.refreshed = 0

    def find(self, key_id: str | None, algorithm: str) -> Candidates:
        return Candidates(self.keys)

    async def refresh(self) -> None:
        self.refreshed += 1
        self.keys = ("another secret of 32 bytes or more", SECRET)

    async def recheck(self) -> bool:
        return False


async def test_an_unknown_key_is_fetched() -> None:
    keys = LateKeys()
    patient = TokenVerifier(keys, algorithms=["HS256"], leeway_seconds=0)
    with pytest.raises(UnknownKey):
        patient.verify(token())
    assert (await patient.verify_fetching(token())).subject == "alice"
    await patient.verify_fetching(token())
    assert keys.refreshed == 1
