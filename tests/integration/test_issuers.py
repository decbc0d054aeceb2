"""A gateway whose tokens come from an issuer with a key set: rotation, outages, large tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from clarion_contract.identity import jwks, tokens
from tests.contract.identity.issuer import Issuer, jwk, serving
from tests.integration.conftest import Start
from tests.integration.pod import Pod, token
from tests.integration.sockets import dialled, opened, streamed

OLD = rsa.generate_private_key(65_537, 2_048)
NEW = rsa.generate_private_key(65_537, 2_048)
GROUPS = [f"/organisation/a-department-with-a-long-name/team-{n:03}/members" for n in range(200)]


def signed(key: rsa.RSAPrivateKey, key_id: str, **claims: Any) -> str:
    payload = {"sub": "alice", "exp": time.time() + 600, **claims}
    return jwt.encode(payload, key, "RS256", {"kid": key_id})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving() as issuer:
        issuer.publish(jwk(OLD, "old"))
        yield issuer


def behind(start: Start, issuer: Issuer, **settings: Any) -> Any:
    return start(jwt_secret=None, jwt_jwks_url=issuer.url, **settings)


async def use_up(pod: Pod) -> None:
    """Spend the pod's whole budget of fetches on made-up key ids."""
    for number in range(jwks.BURST_FETCHES):
        async with dialled(pod, token=signed(NEW, f"made-up-{number}")) as connection:
            await connection.wait_closed()
            if connection.close_code == 1013:
                return


async def test_a_rotated_key_is_let_in_at_once_and_after_made_up_ones(
    start: Start, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "BUDGET_SECONDS", 1.0)
    async with behind(start, issuer) as pod:
        async with opened(pod, token=signed(OLD, "old")) as client:
            assert client.welcome["user"] == "alice"
        issuer.publish(jwk(OLD, "old"), jwk(NEW, "new"))
        async with opened(pod, token=signed(NEW, "new")) as client:
            assert client.welcome["user"] == "alice"
        await use_up(pod)
        newest = rsa.generate_private_key(65_537, 2_048)
        issuer.publish(jwk(newest, "newest"))
        async with opened(pod, token=signed(newest, "newest")) as client:
            answer = await client.log_in(signed(newest, "newest"))
            assert answer["kind"] == "identity"


async def test_a_key_that_cannot_be_fetched_in_time_is_told_to_come_back(
    start: Start, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "BUDGET_SECONDS", 1_000.0)
    monkeypatch.setattr(tokens, "KEYS_WAIT_SECONDS", 0.2)
    async with behind(start, issuer) as pod:
        await use_up(pod)
        issuer.publish(jwk(OLD, "old"), jwk(NEW, "new"))
        async with dialled(pod, token=signed(NEW, "new")) as connection:
            await connection.wait_closed()
            assert connection.close_code == 1013
        async with streamed(pod, f"/sse?token={signed(NEW, 'new')}") as stream:
            error = await stream.receive()
            assert (error.type, error.value["code"]) == ("$error", "unavailable")
        async with opened(pod, token=signed(OLD, "old")) as client:
            answer = await client.log_in(signed(NEW, "new"))
            assert (answer["kind"], answer["code"]) == ("error", "unavailable")
        assert await pod.metric("clarion_handshakes_total", outcome="unavailable") >= 2


async def test_why_there_are_no_keys_is_said_in_readyz(start: Start, issuer: Issuer) -> None:
    issuer.status, issuer.headers = 302, {"location": "/login"}
    async with behind(start, issuer, wait=False) as pod:

        async def reason(words: str) -> None:
            async with asyncio.timeout(60):
                while not any(words in each for each in (await pod.readiness())[1]):
                    await asyncio.sleep(0.05)

        await reason("got 302 Found to '/login': redirects are not followed")
        issuer.status, issuer.headers, issuer.body = 200, {}, b"<html>log in</html>"
        await reason("expected JSON, got b'<html>log in")
        issuer.publish(jwk(OLD, "old"))
        await pod.ready()


WAYS = ["the header", "the query", "a subprotocol", "in band"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_token_with_200_groups_comes_in_on_every_way(pod: Pod, way: str) -> None:
    large = token("alice", groups=GROUPS)
    assert len(large) > 16_384
    if way == "in band":
        async with opened(pod) as client:
            assert (await client.log_in(large))["user"] == "alice"
            return
    if way == "the header":
        async with streamed(pod, Authorization=f"Bearer {large}") as stream:
            assert (await stream.receive()).value["user"] == "alice"
    elif way == "the query":
        async with streamed(pod, f"/sse?token={large}") as stream:
            assert (await stream.receive()).value["user"] == "alice"
    options: dict[str, Any] = {
        "the header": {"headers": {"Authorization": f"Bearer {large}"}},
        "the query": {"token": large},
        "a subprotocol": {"subprotocols": ["clarion.v1", f"clarion.bearer.{large}"]},
    }[way]
    async with opened(pod, **options) as client:
        assert client.welcome["user"] == "alice"


async def test_a_token_past_the_limit_is_told_its_size(start: Start) -> None:
    async with (
        start(token_max_bytes=1_024) as pod,
        dialled(pod, token=token("alice", groups=GROUPS)) as connection,
    ):
        await connection.wait_closed()
        assert connection.close_code == 4401
        assert "at most 1024 bytes" in (connection.close_reason or "")


async def test_the_users_id_may_stand_in_another_claim(start: Start) -> None:
    async with (
        start(jwt_user_claim="email") as pod,
        opened(pod, token=token("5", email="ada@example.com")) as client,
    ):
        assert client.welcome["user"] == "ada@example.com"
