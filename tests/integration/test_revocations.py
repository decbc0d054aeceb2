"""Revoked tokens and disconnected users, on a real gateway and a real Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio

from clarion_contract.bus.orders import Disconnect, Order, Orders, RevokeToken, RevokeUser
from clarion_contract.events.errors import BusUnavailable
from tests.integration.conftest import Start
from tests.integration.pod import SECONDS, Pod, eventually, started, token
from tests.integration.sockets import dialled, opened, streamed
from tests.valkey import Valkey


def orders_of(pod: Pod) -> Orders:
    return Orders(pod.bus, pod.settings.keyspace, max_orders=pod.settings.orders_max)


def disconnect(reason: str | None = None, *, reconnect: bool = True) -> Disconnect:
    return Disconnect(uuid.uuid4().hex, "alice", reason, reconnect, time.time() + 3_600)


def revoke_token(token_id: str = "one") -> RevokeToken:
    return RevokeToken(token_id, time.time() + 3_600)


def revoke_user() -> RevokeUser:
    """All tokens of alice, also those that the test makes later."""
    return RevokeUser("alice", time.time() + 1_800, time.time() + 3_600)


def alice(**claims: Any) -> str:
    return token("alice", iat=int(time.time()), **claims)


async def refusal(pod: Pod, jwt: str) -> tuple[int | None, str | None]:
    """How a client with a token is turned away."""
    async with dialled(pod, token=jwt) as connection:
        async with asyncio.timeout(SECONDS):
            await connection.wait_closed()
        return connection.close_code, connection.close_reason


async def test_a_disconnect_closes_all_sockets_of_the_user_and_no_other(pod: Pod) -> None:
    async with (
        opened(pod, token=alice()) as one,
        opened(pod, token=alice()) as two,
        opened(pod, token=token("bob")) as bob,
        streamed(pod, f"/sse?token={alice()}") as stream,
    ):
        await stream.welcomed()
        assert await orders_of(pod).give([disconnect("your plan has changed")]) == 1
        closes = [await one.closed(), await two.closed()]
        error = await stream.receive()
        await pod.publish(type_="still.here")
        still = await bob.receive("event")

    assert closes == [(4409, "your plan has changed")] * 2
    assert (error.type, error.value["code"]) == ("$error", "disconnected")
    assert still["type"] == "still.here"
    assert await pod.metric("clarion_closes_total", reason="disconnected") == 3
    async with opened(pod, token=alice()) as back:
        assert back.welcome["user"] == "alice"


async def test_a_barred_client_is_told_not_to_come_back(pod: Pod) -> None:
    async with opened(pod, token=alice()) as client:
        await orders_of(pod).give([disconnect(reconnect=False)])
        assert await client.closed() == (4403, "disconnected, do not come back")


@pytest.mark.parametrize("revoke", [revoke_token, revoke_user])
async def test_a_revoked_token_is_good_for_nothing(pod: Pod, revoke: Callable[[], Order]) -> None:
    """The client loses its socket, cannot connect in any way, and cannot log in with it in band."""
    revoked = alice(jti="one")
    async with (
        opened(pod, token=revoked) as client,
        opened(pod) as anonymous,
        opened(pod, token=token("bob", jti="two", iat=1)) as bob,
    ):
        await orders_of(pod).give([revoke()])
        closed = await client.closed()
        answer = await anonymous.log_in(revoked)
        await pod.publish(type_="still.here")
        others = [await each.receive("event") for each in (anonymous, bob)]
    again = await refusal(pod, revoked)
    async with streamed(pod, f"/sse?token={revoked}") as stream:
        status = stream.response.status

    reason = "the token was revoked, connect with a fresh one"
    assert closed == again == (4401, reason)
    assert status == 401
    assert (answer["kind"], answer["code"], answer["message"]) == (
        "error", "unauthenticated", reason,
    )  # fmt: skip
    assert [event["type"] for event in others] == ["still.here"] * 2
    assert await pod.metric("clarion_tokens_refused_total", reason="revoked") == 3
    assert await pod.metric("clarion_revocations") == 1


async def test_a_refresh_with_a_revoked_token_changes_nothing(pod: Pod) -> None:
    async with opened(pod, token=alice(jti="good")) as client:
        await orders_of(pod).give([revoke_token("bad")])
        await pod.counted("clarion_revocations")
        answer = await client.log_in(alice(jti="bad"))
        await pod.publish(type_="still.here")
        event = await client.receive("event")

    assert answer["code"] == "unauthenticated"
    assert event["type"] == "still.here"


async def test_a_fresh_token_is_taken_after_the_old_ones_were_revoked(pod: Pod) -> None:
    now = int(time.time())
    await orders_of(pod).give([RevokeUser("alice", now, now + 60)])
    await pod.counted("clarion_revocations")
    async with opened(pod, token=token("alice", iat=now)) as client:
        assert client.welcome["user"] == "alice"
    assert (await refusal(pod, token("alice", iat=now - 1)))[0] == 4401
    assert (await refusal(pod, token("alice")))[0] == 4401, "it does not say when"


async def test_a_token_of_the_very_second_of_a_revocation_is_not_refused_for_good(
    start: Start,
) -> None:
    """It may be an old one. The client should fetch another token, however it connected."""
    # Ahead of the clock by less than the leeway: this second does not end while the test runs.
    second = int(time.time()) + 100
    early, fresh = token("alice", iat=second), token("alice", iat=second + 1)
    async with start(jwt_leeway_seconds=300) as pod:
        await orders_of(pod).give([RevokeUser("alice", second + 0.5, second + 600)])
        await pod.counted("clarion_revocations")
        assert await refusal(pod, early) == (
            1013, "the token was issued in the second of a revocation, come back with a fresh one",
        )  # fmt: skip
        async with streamed(pod, f"/sse?token={early}") as stream:
            error = await stream.receive()
            assert (error.type, error.value["code"]) == ("$error", "issued_too_soon")
            assert stream.retry is not None, "else it comes back at once"
        async with opened(pod) as client:
            assert (await client.log_in(early))["code"] == "issued_too_soon"
            assert (await client.log_in(fresh))["kind"] == "identity"
        assert await pod.metric("clarion_tokens_refused_total", reason="revoked") == 3


async def test_a_pod_that_starts_later_knows(pod: Pod, start: Start) -> None:
    await orders_of(pod).give([revoke_token()])
    async with start(pod="later") as later:
        assert (await refusal(later, alice(jti="one")))[0] == 4401


async def test_orders_reach_a_pod_that_had_lost_redis(pod: Pod) -> None:
    """The orders were given while its subscription was cut: it finds them when it is back."""
    async with opened(pod, token=alice(jti="one")) as held, opened(pod, token=alice()) as client:
        async with redis.asyncio.Redis.from_url(pod.settings.redis_url) as meddler:
            await meddler.client_kill_filter(_type="pubsub")
            await orders_of(pod).give([revoke_token(), disconnect("while you were away")])
        closes = [await held.closed(), await client.closed()]

    assert closes[0][0] in {4401, 4409}
    assert closes[1] == (4409, "while you were away")


async def test_an_empty_redis_is_given_back_what_it_lost(valkey: Valkey, namespace: str) -> None:
    """A revocation outlives Redis as long as one pod does."""
    async with started(valkey.url, namespace) as pod:
        await orders_of(pod).give([revoke_token()])
        await pod.counted("clarion_revocations")
        valkey.kill()
        valkey.start()

        async def is_back() -> bool:
            with contextlib.suppress(BusUnavailable):
                return bool(await orders_of(pod).read())
            return False

        await eventually(is_back, seconds=15)
        async with started(valkey.url, namespace, pod="later") as later:
            assert (await refusal(later, alice(jti="one")))[0] == 4401
