"""Keys at a URL of a real HTTP server: cached, rotated, fetched rarely, and never forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from clarion_contract.events.errors import InvalidToken, KeysUnavailable
from clarion_contract.identity import jwks as jwks_module
from clarion_contract.identity import tokens as tokens_module
from clarion_contract.identity.jwks import BURST_FETCHES, RECHECK_SECONDS, JwksKeys
from clarion_contract.identity.tokens import TokenVerifier
from tests.contract.identity.issuer import Issuer, jwk, serving
from tests.e2e.ports import free_port

OTHER = rsa.generate_private_key(65_537, 2_048)
OLD = rsa.generate_private_key(65_537, 2_048)
NEW = ec.generate_private_key(ec.SECP256R1())


def token(key: Any, key_id: str | None = None) -> str:
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    headers = {"kid": key_id} if key_id else None
    return jwt.encode({"sub": "alice", "exp": time.time() + 60}, key, algorithm, headers)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving() as issuer:
        issuer.publish(jwk(OLD, "old"))
        yield issuer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keys(issuer: Issuer, clock: Clock) -> AsyncIterator[JwksKeys]:
    keys = JwksKeys(issuer.url, clock=clock)
    yield keys
    await keys.aclose()


def verifier(keys: JwksKeys) -> TokenVerifier:
    return TokenVerifier(keys, algorithms=["RS256", "ES256"], leeway_seconds=0)


async def test_keys_are_fetched_when_first_needed_and_kept(keys: JwksKeys, issuer: Issuer) -> None:
    assert not keys.known
    for _ in range(3):
        assert (await verifier(keys).verify_fetching(token(OLD, "old"))).subject == "alice"
    assert issuer.requests == 1
    assert keys.known


async def test_a_rotated_key_is_found(keys: JwksKeys, issuer: Issuer, clock: Clock) -> None:
    await verifier(keys).verify_fetching(token(OLD, "old"))
    issuer.publish(jwk(OLD, "old"), jwk(NEW, "new"))
    assert (await verifier(keys).verify_fetching(token(NEW, "new"))).subject == "alice"
    assert (await verifier(keys).verify_fetching(token(OLD, "old"))).subject == "alice"
    assert issuer.requests == 2


async def test_a_withdrawn_key_is_forgotten(keys: JwksKeys, issuer: Issuer, clock: Clock) -> None:
    await verifier(keys).verify_fetching(token(OLD, "old"))
    issuer.publish(jwk(NEW, "new"))
    await keys.refresh()
    with pytest.raises(InvalidToken) as caught:
        await verifier(keys).verify_fetching(token(OLD, "old"))
    assert caught.value.reason == "signature"


async def test_a_storm_of_unknown_keys_is_one_request(
    keys: JwksKeys, issuer: Issuer, clock: Clock
) -> None:
    await keys.refresh()
    results = await asyncio.gather(
        *[verifier(keys).verify_fetching(token(NEW, f"made-up-{n}")) for n in range(100)],
        return_exceptions=True,
    )
    assert {type(result).__name__ for result in results} == {"UnknownKey"}
    assert issuer.requests == 2


async def test_a_token_without_key_id_gets_the_only_key(keys: JwksKeys, issuer: Issuer) -> None:
    assert (await verifier(keys).verify_fetching(token(OLD))).subject == "alice"


async def test_a_token_without_key_id_may_be_signed_with_any_key(
    keys: JwksKeys, issuer: Issuer
) -> None:
    issuer.publish(jwk(OTHER, "other"), jwk(OLD, "old"), jwk(NEW, "new"))
    for key in (OTHER, OLD, NEW):
        assert (await verifier(keys).verify_fetching(token(key))).subject == "alice"
    assert issuer.requests == 1


async def test_several_keys_without_id(keys: JwksKeys, issuer: Issuer) -> None:
    issuer.publish(jwk(OTHER, None), jwk(OLD, None), jwk(NEW, None))
    for key, key_id in ((OTHER, None), (OLD, "unheard-of"), (NEW, None)):
        assert (await verifier(keys).verify_fetching(token(key, key_id))).subject == "alice"


async def test_a_key_id_chooses_among_keys_that_have_one(keys: JwksKeys, issuer: Issuer) -> None:
    issuer.publish(jwk(OTHER, "other"), jwk(OLD, "old"))
    with pytest.raises(InvalidToken, match="signature"):
        await verifier(keys).verify_fetching(token(OLD, "other"))


async def test_a_replaced_set_without_ids_is_fetched(
    keys: JwksKeys, issuer: Issuer, clock: Clock
) -> None:
    issuer.publish(jwk(OLD, None))
    await keys.refresh()
    issuer.publish(jwk(OTHER, None))
    assert (await verifier(keys).verify_fetching(token(OTHER))).subject == "alice"


async def test_a_key_that_keeps_its_id_is_fetched(
    keys: JwksKeys, issuer: Issuer, clock: Clock
) -> None:
    """The signature fails under the old key; one fetch finds the new one."""
    await keys.refresh()
    issuer.publish(jwk(OTHER, "old"))
    clock.now += RECHECK_SECONDS
    assert (await verifier(keys).verify_fetching(token(OTHER, "old"))).subject == "alice"
    for _ in range(3):
        with pytest.raises(InvalidToken):
            await verifier(keys).verify_fetching(token(OLD, "old"))
    assert issuer.requests == 2, "signatures that fail cost the issuer one fetch in 10 s"


async def test_encryption_keys_verify_nothing(keys: JwksKeys, issuer: Issuer) -> None:
    issuer.publish(jwk(OLD, "old", use="enc"), jwk(NEW, "new", use="sig"))
    with pytest.raises(InvalidToken):
        await verifier(keys).verify_fetching(token(OLD, "old"))
    assert (await verifier(keys).verify_fetching(token(NEW, "new"))).subject == "alice"


async def test_a_shared_secret_in_the_set_verifies_nothing(keys: JwksKeys, issuer: Issuer) -> None:
    """A published secret is no secret, and HS256 is not among the algorithms anyway."""
    issuer.publish({"kty": "oct", "kid": "s", "k": "c2VjcmV0" * 8}, jwk(NEW, "new"))
    forged = jwt.encode(
        {"sub": "alice", "exp": time.time() + 60}, b"secret" * 8, "HS256", {"kid": "s"}
    )
    with pytest.raises(InvalidToken) as caught:
        await verifier(keys).verify_fetching(forged)
    assert caught.value.reason == "algorithm"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"1", b'"keys"', b"{}", b'{"keys":[]}', b'{"keys":[1]}',
             b'{"keys":[{"kty":"new"}]}', b"\xff", b"[" * 100_000,
             b'{"keys":[{"kty":"oct","k":"c2VjcmV0","alg":"HS256","kid":["x"]}]}',
             b'{"keys":[{"kty":"oct","k":"c2VjcmV0","alg":["HS256"]}]}'],
)  # fmt: skip
async def test_answers_that_are_no_key_set(keys: JwksKeys, issuer: Issuer, body: bytes) -> None:
    issuer.body = body
    with pytest.raises(KeysUnavailable):
        await verifier(keys).verify_fetching(token(OLD, "old"))


@pytest.mark.parametrize(
    "bad", [{"kty": "oct", "k": "aaaa", "alg": "none"}, {"kty": "RSA"}, {"kty": "new"}, None, [], 7,
            {"kty": "EC", "crv": "P-256", "x": "!", "y": "!"}, {"kty": "oct", "k": "c2VjcmV0"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": ["RS256"]}, {"kid": ["x"]},
            {"kty": "RSA", "n": 1, "e": None}, {"kty": {"RSA": 1}}],
)  # fmt: skip
async def test_a_key_that_cannot_be_used_spoils_none_of_the_others(
    keys: JwksKeys, issuer: Issuer, bad: Any
) -> None:
    issuer.body = json.dumps({"keys": [bad, jwk(OLD, "old"), bad]}).encode()
    assert (await verifier(keys).verify_fetching(token(OLD, "old"))).subject == "alice"


async def test_a_keys_operations_are_heeded(keys: JwksKeys, issuer: Issuer) -> None:
    """RFC 7517, section 4.3."""
    issuer.publish(jwk(OLD, "old", key_ops=["encrypt"]), jwk(NEW, "new", key_ops=["verify"]))
    with pytest.raises(InvalidToken):
        await verifier(keys).verify_fetching(token(OLD, "old"))
    assert (await verifier(keys).verify_fetching(token(NEW, "new"))).subject == "alice"


async def test_a_keys_algorithm_is_heeded(keys: JwksKeys, issuer: Issuer) -> None:
    """RFC 7517, section 4.4. One id may name several keys, each for another algorithm."""
    issuer.publish(jwk(OLD, "old", alg="PS256"), jwk(NEW, "both", alg="ES256"),
                   jwk(OLD, "both", alg="RS256"))  # fmt: skip
    with pytest.raises(InvalidToken) as caught:
        await verifier(keys).verify_fetching(token(OLD, "old"))
    assert caught.value.reason == "algorithm"
    for key in (OLD, NEW):
        assert (await verifier(keys).verify_fetching(token(key, "both"))).subject == "alice"


async def test_an_issuer_that_drips_is_given_up_in_time(issuer: Issuer) -> None:
    """httpx limits the wait for each piece, not for the whole answer."""
    issuer.drips = True
    keys = JwksKeys(issuer.url, fetch_seconds=0.5)
    async with asyncio.timeout(20):
        with pytest.raises(KeysUnavailable, match=r"no whole answer within 0.5 s"):
            await keys.refresh()
    await keys.aclose()


async def test_a_key_set_is_bounded(keys: JwksKeys, issuer: Issuer) -> None:
    issuer.body += b" " * (jwks_module.MAX_BYTES - len(issuer.body))
    await keys.refresh()
    issuer.body += b" "
    other = JwksKeys(issuer.url)
    with pytest.raises(KeysUnavailable, match="at most 1048576 bytes"):
        await other.refresh()
    await other.aclose()


async def test_gzip_is_unpacked_within_the_bound(keys: JwksKeys, issuer: Issuer) -> None:
    """Object stores send it although nobody asked."""
    issuer.headers["content-encoding"] = "gzip"
    plain = issuer.body
    issuer.body = gzip.compress(plain)
    await keys.refresh()
    assert keys.known
    issuer.body = gzip.compress(plain + b" " * (64 * jwks_module.MAX_BYTES))
    with pytest.raises(KeysUnavailable, match="at most 1048576 bytes"):
        await keys.refresh()
    issuer.body = plain
    with pytest.raises(KeysUnavailable, match="expected gzip"):
        await keys.refresh()
    issuer.headers["content-encoding"] = "br"
    with pytest.raises(KeysUnavailable, match="not compressed, got 'br'"):
        await keys.refresh()


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (302, {"location": "/login"}, b"", "got 302 Found to '/login': redirects are not followed"),
        (404, {}, b"", "expected status 200, got 404 Not Found"),
        (200, {}, b"<html>log in</html>", "expected JSON, got b'<html>log in"),
        (200, {}, b'{"issuer":"i","jwks_uri":"https://issuer.example/keys"}',
         "got a discovery document, which says: https://issuer.example/keys"),
        (200, {}, b'{"keys":[]}', "expected a key that verifies signatures"),
        (200, {}, b'{"keys":[{"kty":"oct","k":"aaaa","alg":"none"}]}', "key 0: expected its alg to be one of"),
    ],
)  # fmt: skip
async def test_the_reason_is_the_true_one(
    keys: JwksKeys, issuer: Issuer, status: int, headers: dict[str, str], body: bytes, reason: str
) -> None:
    issuer.status, issuer.headers, issuer.body = status, headers, body
    with pytest.raises(KeysUnavailable) as caught:
        await keys.refresh()
    assert reason in str(caught.value)
    assert keys.failure is not None
    assert reason in keys.failure


async def test_a_host_that_does_not_exist_is_named_as_such(clock: Clock) -> None:
    keys = JwksKeys("http://no-such-host.invalid/jwks", clock=clock)
    with pytest.raises(KeysUnavailable, match=r"ConnectError: \[Errno -\d\]"):
        await keys.refresh()
    await keys.aclose()


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_answers_that_fail(keys: JwksKeys, issuer: Issuer, status: int) -> None:
    issuer.status = status
    with pytest.raises(KeysUnavailable):
        await keys.refresh()


async def test_an_outage_costs_nobody_whose_key_is_known(
    keys: JwksKeys, issuer: Issuer, clock: Clock
) -> None:
    await keys.refresh()
    issuer.status = 500
    assert (await verifier(keys).verify_fetching(token(OLD, "old"))).subject == "alice"
    for _ in range(3):  # unavailable, not refused: the new key may well be good
        with pytest.raises(KeysUnavailable, match="500"):
            await verifier(keys).verify_fetching(token(NEW, "new"))
    issuer.status = 200
    issuer.publish(jwk(OLD, "old"), jwk(NEW, "new"))
    assert (await verifier(keys).verify_fetching(token(NEW, "new"))).subject == "alice"


async def test_an_outage_costs_the_issuer_few_fetches(keys: JwksKeys, issuer: Issuer) -> None:
    """While the URL fails, nobody waits for the next fetch that is allowed."""
    issuer.status = 500
    for _ in range(3 * BURST_FETCHES):
        with pytest.raises(KeysUnavailable, match="500"):
            await verifier(keys).verify_fetching(token(NEW, "new"))
    assert issuer.requests == BURST_FETCHES


async def test_made_up_ids_hold_no_door_shut(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They use the budget up; a new key's token waits for the next fetch and passes."""
    monkeypatch.setattr(jwks_module, "BUDGET_SECONDS", 1.0)
    keys = JwksKeys(issuer.url)
    forged = [verifier(keys).verify_fetching(token(OLD, f"made-up-{n}")) for n in range(20)]
    for each in forged[:BURST_FETCHES]:
        with pytest.raises(InvalidToken):
            await each
    others = [asyncio.ensure_future(each) for each in forged[BURST_FETCHES:]]
    issuer.publish(jwk(NEW, "new"))
    assert (await verifier(keys).verify_fetching(token(NEW, "new"))).subject == "alice"
    results = await asyncio.gather(*others, return_exceptions=True)
    assert {type(result).__name__ for result in results} == {"UnknownKey"}
    assert issuer.requests <= BURST_FETCHES + 2
    await keys.aclose()


async def test_a_key_that_cannot_be_fetched_in_time_is_no_bad_token(
    keys: JwksKeys, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "KEYS_WAIT_SECONDS", 0.1)
    for _ in range(BURST_FETCHES):
        await keys.refresh()
    with pytest.raises(KeysUnavailable, match="not fetched in time"):
        await verifier(keys).verify_fetching(token(NEW, "new"))


async def test_a_client_that_gives_up_ends_no_fetch(keys: JwksKeys, issuer: Issuer) -> None:
    issuer.drips = True
    first = asyncio.ensure_future(keys.refresh())
    await until(lambda: issuer.requests == 1)
    second = asyncio.ensure_future(keys.refresh())
    await asyncio.sleep(0)
    third = asyncio.ensure_future(keys.refresh())
    first.cancel()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    issuer.drips = False
    issuer.ended.set()
    with contextlib.suppress(KeysUnavailable):
        await third
    assert issuer.requests == 2


async def test_nobody_listens(clock: Clock) -> None:
    keys = JwksKeys(f"http://127.0.0.1:{free_port()}/", clock=clock)
    for _ in range(2):
        with pytest.raises(KeysUnavailable, match="ConnectError"):
            await keys.refresh()
    await keys.aclose()


async def test_secrets_of_the_url_are_told_nowhere(
    issuer: Issuer, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its login and its query may hold them, and are for the issuer alone."""
    secret = issuer.url.replace("://", "://login:password@") + "?key=hidden"
    keys = JwksKeys(secret, clock=clock)
    issuer.status = 500
    with pytest.raises(KeysUnavailable) as told:
        await keys.refresh()
    issuer.status = 200
    clock.now += 3_600
    await keys.refresh()
    await keys.aclose()
    text = str(told.value) + capsys.readouterr().out
    assert text.count(issuer.url) == 3  # the error, the failure, the success
    assert not any(word in text for word in ("login", "password", "hidden"))


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0.01)


async def test_the_background_task_repeats(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It repeats soon after a failure, and rarely after a success."""
    monkeypatch.setattr(jwks_module, "RETRY_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(jwks_module, "BUDGET_SECONDS", 0.01)
    monkeypatch.setattr(jwks_module, "REFRESH_INTERVAL_SECONDS", 0.05)
    issuer.status = 500
    keys = JwksKeys(issuer.url)
    task = asyncio.create_task(keys.run())
    await until(lambda: issuer.requests >= 2)
    issuer.status = 200
    await until(lambda: keys.known)
    issuer.publish(jwk(NEW, "new"))
    await until(lambda: keys.find("new", "ES256").keys)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await keys.aclose()
