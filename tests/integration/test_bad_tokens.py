"""Tokens: why they are refused, the ways to send them, and users with unusual names."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from clarion_contract.events.audience import ALL, AUTHENTICATED, user_audience
from tests.conftest import SECRET
from tests.integration.conftest import Start
from tests.integration.pod import Pod, token
from tests.integration.sockets import connected, dialled, opened, request_of, streamed
from tests.integration.test_bad_frames import unaffected

OTHER_SECRET = "another secret, also of 32 bytes or more"


def signed(algorithm: str = "HS256", key: str = SECRET, **claims: Any) -> str:
    """A token with just these claims."""
    return jwt.encode(claims, key, algorithm)


def refused_tokens() -> dict[str, tuple[str, str, str]]:
    """By name: a token, its reason in the metric, and words of the answer."""
    later = time.time() + 600
    return {
        "expired": (token("alice", -1), "expired", "has expired"),
        "forged": (token("alice", key=OTHER_SECRET), "signature", "signature does not match"),
        "alg none": (
            jwt.encode({"sub": "alice", "exp": later}, "", "none"),
            "algorithm",
            "algorithm is not accepted",
        ),
        "another algorithm": (
            signed("HS512", SECRET * 2, sub="alice", exp=later),
            "algorithm",
            "algorithm is not accepted",
        ),
        "milliseconds": (
            signed(sub="alice", exp=int(later * 1_000)),
            "lifetime",
            "exp counts seconds",
        ),
        "wrong audience": (token("alice", aud="shop"), "audience", "another audience"),
        "not yet": (token("alice", nbf=later), "not_yet_valid", "not valid yet"),
        "no exp": (signed(sub="alice"), "claims", "lacks the claim exp"),
        "no sub": (signed(exp=later), "claims", "lacks the claim sub"),
        "sub is a number": (
            signed(sub=7, exp=later),
            "claims",
            "expected the claim sub to be a string, got a number",
        ),
        "empty user id": (token(""), "claims", "user id of 1 to 256 bytes"),
        "long user id": (token("ü" * 129), "claims", "got 258 bytes"),
        "lone surrogate": (token("\ud800"), "malformed", "not valid JSON"),
        "long token": (token("x" * 20_000), "malformed", "at most 24576 bytes, got 26"),
        "nothing": ("", "malformed", "expected a token, got an empty one"),
        "no JWT": ("password", "malformed", "not a well-formed JWT"),
        "three parts of nothing": ("..", "malformed", "not a well-formed JWT"),
    }


async def test_a_refused_token_closes_a_websocket_with_4401(pod: Pod) -> None:
    expected: dict[str, int] = {}
    async with unaffected(pod) as is_served:
        for name, (jwt_, reason, words) in refused_tokens().items():
            async with dialled(pod, token=jwt_) as connection:
                await connection.wait_closed()
                assert connection.close_code == 4401, name
                assert words in (connection.close_reason or ""), name
            expected[reason] = expected.get(reason, 0) + 1
            await is_served()
    for reason, count in expected.items():
        assert await pod.metric("clarion_tokens_refused_total", reason=reason) == count, reason
    total = sum(expected.values())
    outcome = {"wire": "websocket", "outcome": "unauthenticated"}
    assert await pod.metric("clarion_handshakes_total", **outcome) == total
    closes = await pod.metric("clarion_closes_total", code="4401", reason="unauthenticated")
    assert closes == total


async def test_a_refused_token_ends_a_stream_with_401(pod: Pod) -> None:
    tokens = refused_tokens()
    async with unaffected(pod) as is_served:
        for name, (jwt_, _, words) in tokens.items():
            query = urlencode({"token": jwt_})
            async with streamed(pod, f"/sse?{query}") as stream:
                assert stream.response.status == 401, name
                assert stream.response.headers["www-authenticate"] == "Bearer"
                assert stream.response.headers["content-type"] == "application/problem+json"
                assert words in stream.response.detail, name
            await is_served()
    assert await pod.metric("clarion_tokens_refused_total") == len(tokens)
    outcome = {"wire": "sse", "outcome": "unauthenticated"}
    assert await pod.metric("clarion_handshakes_total", **outcome) == len(tokens)
    closes = await pod.metric("clarion_closes_total", code="4401", reason="unauthenticated")
    assert closes == len(tokens)


async def test_the_gateway_may_expect_an_audience_and_an_issuer(start: Start) -> None:
    async with start(jwt_audience="clarion", jwt_issuer="https://id.example.com") as pod:
        good = {"aud": "clarion", "iss": "https://id.example.com"}
        async with opened(pod, token=token("alice", **good)) as alice:
            assert alice.welcome["user"] == "alice"
        for reason, claims in (
            ("audience", {**good, "aud": "shop"}),
            ("issuer", {**good, "iss": "https://evil.example.com"}),
            ("claims", {"iss": good["iss"]}),
        ):
            async with unaffected(pod), dialled(pod, token=token("alice", **claims)) as connection:
                await connection.wait_closed()
                assert connection.close_code == 4401
                assert await pod.metric("clarion_tokens_refused_total", reason=reason) == 1


USERS = (
    "alice",
    "{alice}",
    "}{",
    "a b",
    " ",
    "user:alice",
    "all",
    "%7Balice%7D",
    "a/../b",
    "a*[b]?",
    "line\nbreak",
    "\x00",
    "🚀",
    "Ünï çødé",
    "alice@example.com",
    "x" * 256,
    "ü" * 128,
)


@pytest.mark.parametrize("wire", ["websocket", "sse"])
async def test_any_user_id_gets_its_own_events_only(pod: Pod, wire: str) -> None:
    async with unaffected(pod), opened(pod, token=token("alice ")) as other:
        for user in USERS:
            if wire == "websocket":
                async with opened(pod, token=token(user)) as client:
                    assert client.welcome["user"] == user
                    await pod.publish(user_audience(user), "for.you", b'"psst"')
                    event = await client.receive("event")
                    assert (event["audience"], event["data"]) == ("user", "psst")
            else:
                async with streamed(pod, Authorization=f"Bearer {token(user)}") as stream:
                    assert (await stream.welcomed()).value["user"] == user
                    await pod.publish(user_audience(user), "for.you", b'"psst"')
                    assert (await stream.receive()).value == "psst"
        await pod.publish(AUTHENTICATED, "for.both")
        assert (await other.receive("event"))["type"] == "for.both", "none of theirs came before"
    wire_and_audience = {"audience": "user", "wire": wire}
    assert await pod.metric("clarion_deliveries_total", **wire_and_audience) == len(USERS)


async def test_a_token_may_come_in_header_subprotocol_or_query(pod: Pod) -> None:
    header = {"Authorization": f"Bearer {token('header')}"}
    offers = ["clarion.v1", f"clarion.bearer.{token('subprotocol')}"]
    async with unaffected(pod):
        async with opened(pod, headers=header) as client:
            assert client.welcome["user"] == "header"
        async with opened(pod, headers={"authorization": f"bearer {token('lower')}"}) as client:
            assert client.welcome["user"] == "lower"
        async with opened(pod, subprotocols=offers) as client:
            assert client.welcome["user"] == "subprotocol"
            assert client.connection.subprotocol == "clarion.v1", "never the token"
        async with opened(pod, token=token("query")) as client:
            assert client.welcome["user"] == "query"
            assert client.welcome["expires_in"] == pytest.approx(600, abs=60)
        async with streamed(pod, f"/sse?token={token('query')}") as stream:
            assert (await stream.welcomed()).value["user"] == "query"


async def test_the_header_counts_before_the_subprotocol_before_the_query(pod: Pod) -> None:
    header = {"Authorization": f"Bearer {token('header')}"}
    offers = ["clarion.v1", f"clarion.bearer.{token('subprotocol')}"]
    query = token("query")
    async with opened(pod, headers=header, subprotocols=offers, token=query) as client:
        assert client.welcome["user"] == "header"
    async with opened(pod, subprotocols=offers, token=query) as client:
        assert client.welcome["user"] == "subprotocol"


async def test_a_bad_token_is_not_made_good_by_another(pod: Pod) -> None:
    bad = {"Authorization": f"Bearer {token('alice', -1)}"}
    async with unaffected(pod), dialled(pod, headers=bad, token=token("alice")) as connection:
        await connection.wait_closed()
        assert connection.close_code == 4401
    assert await pod.metric("clarion_tokens_refused_total", reason="expired") == 1


async def test_anonymous_clients_may_be_kept_out(start: Start) -> None:
    async with start(allow_anonymous=False) as pod, opened(pod, token=token("alice")) as alice:
        async with dialled(pod) as connection:
            await connection.wait_closed()
            assert connection.close_code == 4401
            assert connection.close_reason == "expected a valid token"
        async with streamed(pod) as stream:
            assert stream.response.status == 401
            assert stream.response.headers["www-authenticate"] == "Bearer"
        for wire in ("websocket", "sse"):
            outcome = {"wire": wire, "outcome": "unauthenticated"}
            assert await pod.metric("clarion_handshakes_total", **outcome) == 1
        assert await pod.metric("clarion_closes_total", reason="unauthenticated") == 2
        assert await pod.metric("clarion_tokens_refused_total") == 0, "there was none"
        answer = await alice.log_in(None)
        assert (answer["kind"], answer["code"]) == ("error", "unauthenticated")
        await pod.publish(user_audience("alice"))
        assert (await alice.receive("event"))["audience"] == "user", "she has stayed"


async def test_a_bad_token_in_band_changes_nothing(pod: Pod) -> None:
    tokens = refused_tokens()
    async with (
        unaffected(pod),
        opened(pod, token=token("alice")) as alice,
        opened(pod) as nobody,
    ):
        for name, (jwt_, _, words) in tokens.items():
            for client in (alice, nobody):
                answer = await client.log_in(jwt_, ref=name)
                assert (answer["kind"], answer["ref"]) == ("error", name)
                assert answer["code"] == "unauthenticated"
                assert words in answer["message"], name
        await pod.publish(user_audience("alice"), "for.alice")
        await pod.publish(ALL, "for.all")
        assert [event["type"] for event in await alice.events(2)] == ["for.alice", "for.all"]
        assert (await nobody.receive("event"))["type"] == "for.all"
    assert await pod.metric("clarion_tokens_refused_total") == 2 * len(tokens)
    assert await pod.metric("clarion_identity_changes_total") == 0


async def test_a_token_that_ends_closes_its_connections(start: Start) -> None:
    async with start(token_grace_seconds=0, ping_interval_seconds=1) as pod, unaffected(pod):
        short = token("alice", 1)
        async with opened(pod, token=short) as alice, streamed(pod, f"/sse?token={short}") as sse:
            await sse.welcomed()
            assert await alice.closed() == (4401, "the token has expired, connect with a fresh one")
            error = await sse.receive()
            assert (error.type, error.value["code"]) == ("$error", "expired")
            assert await sse.raw.rest() == b""
        assert await pod.metric("clarion_closes_total", code="4401", reason="expired") == 2


async def test_a_refreshed_token_keeps_its_connection(start: Start) -> None:
    async with start(token_grace_seconds=0, ping_interval_seconds=1) as pod:
        async with (
            opened(pod, token=token("alice", 3)) as alice,
            opened(pod, token=token("bob", 3)) as bob,
        ):
            answer = await alice.log_in(token("alice"))
            assert (answer["kind"], answer["user"]) == ("identity", "alice")
            assert (await bob.closed())[0] == 4401, "her first token has ended too by now"
            await pod.publish(user_audience("alice"))
            assert (await alice.receive("event"))["audience"] == "user"
        assert await pod.metric("clarion_identity_changes_total", change="refresh") == 1
        assert await pod.metric("clarion_closes_total", reason="expired") == 1


EMPTY: dict[str, tuple[str, dict[str, str]]] = {
    "a bearer": ("", {"Authorization": "Bearer"}),
    "a bearer and a space": ("", {"Authorization": "Bearer "}),
    "a bearer and a tab": ("", {"Authorization": "Bearer\t"}),
    "another case": ("", {"Authorization": "bEaReR  "}),
    "a subprotocol": ("", {"Sec-WebSocket-Protocol": "clarion.v1, clarion.bearer."}),
    "a field": ("?token=", {}),
    "a field without a sign": ("?token", {}),
    "an encoded field": ("?tok%65n=", {}),
    "a field before a good one": (f"?token=&token={token('alice')}", {}),
    "a header before a good field": (f"?token={token('alice')}", {"Authorization": "Bearer"}),
}


@pytest.mark.parametrize("where", EMPTY)
async def test_an_empty_token_is_no_anonymous_client(pod: Pod, where: str) -> None:
    """The sender meant to send a token: for example, a variable of the page was empty."""
    query, headers = EMPTY[where]
    async with unaffected(pod):
        async with connected(pod) as raw:
            await raw.send(request_of(f"/ws{query}", headers=dict(headers)))
            assert (await raw.response()).status == 101
            assert await raw.close_frame() == (4401, "expected a token, got an empty one")
        if "Sec-WebSocket-Protocol" not in headers:
            async with streamed(pod, f"/sse{query}", **headers) as stream:
                assert stream.response.status == 401
                assert stream.response.headers["www-authenticate"] == "Bearer"


async def test_another_scheme_is_no_token(pod: Pod) -> None:
    """For example, a proxy's own password."""
    async with streamed(pod, Authorization="Basic dXNlcjpwYXNz") as stream:
        assert (await stream.welcomed()).value["user"] is None
