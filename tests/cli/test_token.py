"""`clarion token`: the services accept the tokens that it signs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import jwt
import pytest

from clarion_cli.failure import Failure
from clarion_cli.state import State
from clarion_cli.token import SECRET_MIN_BYTES, Signer, check_scope, make_signer
from clarion_contract.identity.keys import FixedKey
from clarion_contract.identity.tokens import TokenVerifier
from clarion_contract.service import settings
from tests.cli.clarion import SECRET, Clarion


def verifier(**expected: Sequence[str]) -> TokenVerifier:
    return TokenVerifier(FixedKey(SECRET), algorithms=["HS256"], **expected)  # type: ignore[arg-type]


def test_demands_a_secret_as_long_as_the_services_do() -> None:
    assert SECRET_MIN_BYTES == settings.SECRET_MIN_BYTES


def test_a_users_token_is_accepted_until_it_expires() -> None:
    before = time.time()
    claims = verifier().verify(Signer(SECRET).sign("alice", expires_seconds=60))
    after = time.time()
    assert claims.subject == "alice"
    assert claims.scopes == frozenset()
    assert claims.issued_at is not None
    assert before <= claims.issued_at <= after, "with its fraction"
    assert claims.expires_at == int(claims.issued_at) + 60


def test_a_services_token_carries_its_scopes() -> None:
    token = Signer(SECRET).sign("shop", scope="publish:all publish:user", expires_seconds=60)
    assert verifier().verify(token).scopes == {"publish:all", "publish:user"}


def test_names_audience_and_issuer_where_the_services_ask_for_them(tmp_path: Path) -> None:
    environment = {
        "CLARION_JWT_SECRET": SECRET,
        "CLARION_JWT_AUDIENCE": '["clarion", "more"]',
        "CLARION_JWT_ISSUER": "tests",
    }
    signer = make_signer(State(tmp_path), environment)
    assert (signer.audience, signer.issuer) == ("clarion", "tests")
    token = Signer(SECRET, audience="clarion", issuer="tests").sign("alice", expires_seconds=60)
    assert verifier(audiences=["clarion"], issuers=["tests"]).verify(token).subject == "alice"


def test_takes_narrowed_scopes() -> None:
    assert check_scope("publish:topic:order.*  publish:all") == "publish:topic:order.* publish:all"
    with pytest.raises(Failure, match=r"publish:topic:a\.\*b: expected a topic or a pattern"):
        check_scope("publish:topic:a.*b")


def test_names_the_users_topics(clarion: Clarion) -> None:
    topics = ("--topic", "order.42", "--topic", "news")
    completed = clarion.run("token", "alice", *topics, CLARION_JWT_SECRET=SECRET)
    claims = verifier(lists={"topics": "topics"}).verify(completed.stdout.strip())
    assert claims.lists == {"topics": ("order.42", "news")}
    refused = clarion.run("token", "alice", "--topic", "order.*", CLARION_JWT_SECRET=SECRET)
    assert refused.returncode == 2
    assert "expected a topic of 1 to 128 characters" in refused.stderr


@pytest.mark.parametrize("scope", ["", "publish:everything", "publish:all, publish:user"])
def test_refuses_scopes_that_no_service_asks_for(scope: str) -> None:
    with pytest.raises(Failure, match="expected scopes out of publish:all"):
        check_scope(scope)


def test_prints_nothing_but_the_token(clarion: Clarion) -> None:
    """`$(clarion token alice)` must work in any command."""
    completed = clarion.run("token", "alice", "--expires", "60", CLARION_JWT_SECRET=SECRET)
    assert completed.stderr == ""
    assert completed.stdout.count("\n") == 1
    assert verifier().verify(completed.stdout.strip()).subject == "alice"


def test_names_the_service_when_it_is_asked_to(clarion: Clarion) -> None:
    completed = clarion.run("token", "--scope", "publish:all", "shop", CLARION_JWT_SECRET=SECRET)
    claims = jwt.decode(completed.stdout.strip(), SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["scope"]) == ("shop", "publish:all")


def test_says_what_to_do_when_there_is_no_secret(clarion: Clarion) -> None:
    assert "start `clarion up` once, or set CLARION_JWT_SECRET" in clarion.fails("token", "alice")


def test_refuses_a_secret_that_the_services_would_refuse(clarion: Clarion) -> None:
    assert "32 bytes or more" in clarion.fails("token", "alice", CLARION_JWT_SECRET="short")


def test_asks_whose_token_it_is_to_be(clarion: Clarion) -> None:
    assert clarion.fails("token", CLARION_JWT_SECRET=SECRET).startswith(
        "expected a user (`clarion token alice`)"
    )
