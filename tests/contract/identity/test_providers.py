"""Tokens and key sets as identity providers make them, with the settings that docs/identity.md gives.

The shapes follow each provider's documentation: which claims an access token has, how its key set
names keys, and under which names users and scopes stand.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from clarion_contract.events.errors import InvalidToken
from clarion_contract.identity.claims import Claims
from clarion_contract.identity.tokens import verifier_of
from clarion_contract.service.settings import ContractSettings
from tests.contract.identity.issuer import Issuer, jwk, serving
from tests.contract.identity.test_key_set import certificate

KEY = rsa.generate_private_key(65_537, 2_048)
OTHER = rsa.generate_private_key(65_537, 2_048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
TENANT = str(uuid.uuid4())


@dataclass(frozen=True)
class Case:
    """A token of a provider, and what Clarion should read out of it.

    Attributes:
        keys: the document at the key set's URL.
        claims: besides the times.
        settings: of Clarion.
        key_id: in the token's header.
    """

    keys: Any
    claims: dict[str, Any]
    settings: dict[str, Any]
    subject: str
    scopes: frozenset[str] = frozenset()
    key_id: str | None = "current"
    key: Any = KEY
    algorithm: str = "RS256"
    header: dict[str, Any] = field(default_factory=dict)


def signed(case: Case, **changes: Any) -> str:
    now = int(time.time())
    claims = {"iat": now, "exp": now + 3_600, **case.claims, **changes}
    headers = {**case.header, **({"kid": case.key_id} if case.key_id else {})}
    return jwt.encode(claims, case.key, case.algorithm, headers)


def rsa_set(**more: Any) -> dict[str, Any]:
    """Two keys, since the next one is published before it signs."""
    return {"keys": [jwk(OTHER, "next", **more), jwk(KEY, "current", **more)]}


CASES = {
    "Auth0, a user": Case(
        rsa_set(use="sig", alg="RS256", x5t="current", x5c=["not read"]),
        {"iss": "https://shop.eu.auth0.com/", "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
         "aud": ["https://clarion.example", "https://shop.eu.auth0.com/userinfo"],
         "azp": "my_client_id", "scope": "openid profile"},
        {"jwt_audience": "https://clarion.example", "jwt_issuer": "https://shop.eu.auth0.com/"},
        "auth0|5f7c8ec7c33c6c004bbafe82", frozenset({"openid", "profile"}),
    ),
    "Auth0, permissions of a service": Case(
        rsa_set(use="sig", alg="RS256"),
        {"iss": "https://shop.eu.auth0.com/", "sub": "x9@clients", "aud": "https://clarion.example",
         "gty": "client-credentials", "scope": "publish:all",
         "permissions": ["publish:all", "publish:user"]},
        {"jwt_audience": "https://clarion.example", "jwt_scope_claims": "permissions,scope"},
        "x9@clients", frozenset({"publish:all", "publish:user"}),
    ),
    "Okta": Case(
        rsa_set(use="sig", alg="RS256", e="AQAB"),
        {"ver": 1, "iss": "https://dev-1.okta.com/oauth2/default", "aud": "api://default",
         "cid": "0oa1", "uid": "00u1", "scp": ["publish:all", "openid"], "sub": "ada@example.com"},
        {"jwt_audience": "api://default", "jwt_issuer": "https://dev-1.okta.com/oauth2/default"},
        "ada@example.com", frozenset({"publish:all", "openid"}),
    ),
    "Okta, its own user id": Case(
        rsa_set(use="sig", alg="RS256"),
        {"aud": "api://default", "uid": "00u1", "scp": ["openid"], "sub": "ada@example.com"},
        {"jwt_audience": "api://default", "jwt_user_claim": "uid"},
        "00u1", frozenset({"openid"}),
    ),
    "Entra ID, a user": Case(
        {"keys": [jwk(OTHER, "next", use="sig", x5t="next", issuer="i"),
                  jwk(KEY, "current", use="sig", x5t="current", issuer="i", x5c=["not read"])]},
        {"aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3", "ver": "2.0", "scp": "publish:user",
         "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0", "sub": "AAAAAAAAAAAA",
         "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474", "tid": TENANT, "aio": "x", "uti": "y"},
        {"jwt_audience": '["6e74172b-be56-4843-9ff4-e66a39bb12e3", "api://clarion"]',
         "jwt_issuer": json.dumps([f"https://login.microsoftonline.com/{TENANT}/v2.0",
                                   f"https://sts.windows.net/{TENANT}/"]),
         "jwt_user_claim": "oid"},
        "690222be-ff1a-4d56-abd1-7e4f7d38e474", frozenset({"publish:user"}),
    ),
    "Entra ID, a service with a role": Case(
        rsa_set(use="sig"),
        {"aud": "api://clarion", "iss": f"https://sts.windows.net/{TENANT}/", "sub": "690222be",
         "roles": ["publish:all"], "appid": "a", "ver": "1.0"},
        {"jwt_audience": '["6e74172b", "api://clarion"]',
         "jwt_issuer": f"https://sts.windows.net/{TENANT}/"},
        "690222be", frozenset({"publish:all"}),
    ),
    "Cognito, an access token": Case(
        rsa_set(use="sig", alg="RS256"),
        {"sub": "aaaaaaaa-bbbb", "token_use": "access", "client_id": "57cbishk4j24pabc1234567890",
         "scope": "clarion/publish:all openid", "username": "ada",
         "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x"},
        {"jwt_client_id": "57cbishk4j24pabc1234567890", "jwt_scope_claims": "scope=clarion/"},
        "aaaaaaaa-bbbb", frozenset({"publish:all"}),
    ),
    "Keycloak, realm roles": Case(
        {"keys": [jwk(OTHER, "enc", use="enc", alg="RSA-OAEP"),
                  jwk(KEY, "current", use="sig", alg="RS256", x5c=["not read"])]},
        {"iss": "https://sso.example/realms/shop", "aud": ["realm-management", "account"],
         "sub": "f:1:ada", "typ": "Bearer", "azp": "web", "scope": "openid email",
         "realm_access": {"roles": ["offline_access", "publish:all"]},
         "resource_access": {"clarion": {"roles": ["users:read"]}}},
        {"jwt_audience": "account", "jwt_scope_claims": "realm_access.roles"},
        "f:1:ada", frozenset({"offline_access", "publish:all"}),
    ),
    "Keycloak, roles of a client": Case(
        rsa_set(use="sig", alg="RS256"),
        {"sub": "f:1:ada", "azp": "web",
         "resource_access": {"clarion": {"roles": ["users:read"]}}},
        {"jwt_client_id": '["app", "web"]', "jwt_scope_claims": "resource_access.clarion.roles"},
        "f:1:ada", frozenset({"users:read"}),
    ),
    "Keycloak with EdDSA": Case(
        {"keys": [jwk(ED, "current", use="sig", alg="EdDSA")]},
        {"sub": "f:1:ada"}, {"jwt_algorithms": "EdDSA"}, "f:1:ada", key=ED, algorithm="EdDSA",
    ),
    "Dex": Case(
        rsa_set(use="sig", alg="RS256"),
        {"iss": "https://dex.example", "sub": "CgcyMzQyNzQ5EgZnaXRodWI", "aud": "clarion",
         "email": "ada@example.com", "groups": ["staff"], "at_hash": "x"},
        {"jwt_audience": "clarion", "jwt_issuer": "https://dex.example"},
        "CgcyMzQyNzQ5EgZnaXRodWI",
    ),
    "Firebase, certificates": Case(
        {name: certificate(key).public_bytes(Encoding.PEM).decode()
         for name, key in (("next", OTHER), ("current", KEY))},
        {"iss": "https://securetoken.google.com/shop", "aud": "shop", "auth_time": 1,
         "user_id": "u1", "sub": "u1", "firebase": {"sign_in_provider": "google.com"}},
        {"jwt_audience": "shop", "jwt_issuer": "https://securetoken.google.com/shop"},
        "u1",
    ),
    "Firebase, a JWK set": Case(
        rsa_set(use="sig", alg="RS256"),
        {"iss": "https://securetoken.google.com/shop", "aud": "shop", "sub": "u1"},
        {"jwt_audience": "shop"}, "u1",
    ),
    "several keys without ids": Case(
        {"keys": [jwk(OTHER, None), jwk(EC, None), jwk(KEY, None)]}, {"sub": "u1"}, {}, "u1",
        key_id=None,
    ),
    "a token that names its certificate only": Case(
        rsa_set(use="sig", x5t="x"), {"sub": "u1"}, {}, "u1", key_id=None, header={"x5t": "x"},
    ),
}  # fmt: skip


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving() as issuer:
        yield issuer


async def verified(case: Case, issuer: Issuer, token: str) -> Claims:
    issuer.body = json.dumps(case.keys).encode()
    settings = ContractSettings(jwt_jwks_url=issuer.url, **case.settings)
    keys, verifier = verifier_of(settings, subject_claim=settings.jwt_user_claim)
    try:
        return await verifier.verify_fetching(token)
    finally:
        await keys.aclose()


@pytest.mark.parametrize("name", CASES)
async def test_the_token_is_read(name: str, issuer: Issuer) -> None:
    case = CASES[name]
    claims = await verified(case, issuer, signed(case))
    assert (claims.subject, claims.scopes) == (case.subject, case.scopes)
    assert issuer.requests == 1


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("Okta", {"aud": "api://other"}, "audience"),
        ("Okta", {"iss": "https://dev-2.okta.com/oauth2/default"}, "issuer"),
        ("Entra ID, a user", {"aud": "another"}, "audience"),
        ("Entra ID, a user", {"iss": "https://login.microsoftonline.com/other/v2.0"}, "issuer"),
        ("Cognito, an access token", {"client_id": "another"}, "audience"),
        ("Cognito, an access token", {"client_id": None}, "audience"),
        ("Cognito, an access token", {"aud": "57cbishk4j24pabc1234567890"}, "audience"),
        ("Keycloak, roles of a client", {"azp": "other"}, "audience"),
        ("Keycloak, roles of a client", {"client_id": "other"}, "audience"),
        ("Firebase, a JWK set", {"exp": int(time.time() + 3_600) * 1_000}, "lifetime"),
        ("Firebase, a JWK set", {"exp": int(time.time()) + 30 * 86_400}, "lifetime"),
        ("Dex", {"sub": 42}, "claims"),
        ("Okta, its own user id", {"uid": 42}, "claims"),
        ("Okta, its own user id", {"uid": None}, "claims"),
    ],
)
async def test_the_token_is_refused(
    name: str, changes: dict[str, Any], reason: str, issuer: Issuer
) -> None:
    case = CASES[name]
    with pytest.raises(InvalidToken) as caught:
        await verified(case, issuer, signed(case, **changes))
    assert caught.value.reason == reason


async def test_another_issuers_key_with_the_same_id_is_refused(issuer: Issuer) -> None:
    case = CASES["Okta"]
    forged = jwt.encode(
        {**case.claims, "exp": time.time() + 60}, OTHER, "RS256", {"kid": "current"}
    )
    with pytest.raises(InvalidToken) as caught:
        await verified(case, issuer, forged)
    assert caught.value.reason == "signature"
