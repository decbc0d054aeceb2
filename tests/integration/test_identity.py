"""Identity lives on the socket: log-in, refresh, log-out and expiry, while events flow."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clarion_contract.events.audience import AUTHENTICATED, user_audience
from tests.integration.conftest import Start
from tests.integration.pod import Pod, token
from tests.integration.sockets import Client, opened


@contextlib.asynccontextmanager
async def flood(pod: Pod, *audiences: Any) -> AsyncIterator[None]:
    """Publish to each audience as fast as Redis allows, until the context ends."""

    flowing = True

    async def publish() -> None:
        number = 0
        while flowing:
            for audience in audiences:
                await pod.publish(audience, data=b"%d" % number)
            number += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(publish())
        try:
            yield
        finally:
            flowing = False


async def until(client: Client, kind: str) -> list[dict[str, Any]]:
    """All messages up to the first of that kind, included."""
    messages = [await client.receive()]
    while messages[-1]["kind"] != kind:
        messages.append(await client.receive())
    return messages


async def test_events_follow_the_identity(pod: Pod) -> None:
    """`identity` marks the change: before it the old audiences, after it the new ones."""
    alice, bob = user_audience("alice"), user_audience("bob")
    heard = []

    async def publish(word: bytes) -> None:
        for audience in (AUTHENTICATED, alice, bob):
            await pod.publish(audience, "hidden", b'"%b"' % word)
        await pod.publish(type_="marker", data=b'"%b"' % word)

    async with opened(pod) as client:
        for jwt in (None, token("alice"), token("alice"), token("bob"), None):
            await client.send(kind="auth", ref=1, token=jwt)
            identity = await client.receive("identity")
            await publish(b"x")
            events = [await client.receive("event")]
            while events[-1]["type"] != "marker":
                events.append(await client.receive("event"))
            heard.append((identity["user"], [event["audience"] for event in events]))
        changes = {
            change: await pod.metric("clarion_identity_changes_total", change=change)
            for change in ("login", "refresh", "logout")
        }

    everything = ["authenticated", "user", "all"]
    assert heard == [
        (None, ["all"]),
        ("alice", everything),
        ("alice", everything),
        ("bob", everything),
        (None, ["all"]),
    ]
    assert changes == {"login": 2, "refresh": 1, "logout": 2}


async def test_nothing_leaks_past_a_logout_under_a_flood(pod: Pod) -> None:
    """After `identity` has said null, no event for authenticated users or for the user arrives."""
    leaked: list[dict[str, Any]] = []
    runs: list[list[int]] = []
    async with flood(pod, AUTHENTICATED, user_audience("alice")), opened(pod) as client:
        for _ in range(15):
            await client.send(kind="auth", ref=1, token=token("alice"))
            leaked += (await until(client, "identity"))[:-1]
            while_in = [await client.receive("event") for _ in range(10)]
            await client.send(kind="auth", ref=2, token=None)
            *more, identity = await until(client, "identity")
            assert identity["user"] is None
            runs.append([int(event["id"]) for event in [*while_in, *more]])
        await pod.publish(type_="marker")
        leaked += [
            message for message in await until(client, "event") if message.get("type") != "marker"
        ]

    assert leaked == []
    assert all(run == sorted(set(run)) and len(run) >= 10 for run in runs)


async def test_nothing_for_one_user_reaches_the_next_on_the_same_socket(pod: Pod) -> None:
    """On a shared screen, bob logs in while many events for alice arrive."""
    users = ["alice", "bob"] * 8
    wrong = []
    async with (
        flood(pod, user_audience("alice")),
        opened(pod, token=token("alice")) as client,
    ):
        current = "alice"
        for user in users:
            await client.send(kind="auth", ref=1, token=token(user))
            *before, identity = await until(client, "identity")
            wrong += [message for message in before if current != "alice"]
            current = identity["user"]
            if current == "alice":
                await client.receive("event")
        await pod.publish(user_audience("bob"), "for.bob")
        last = await client.receive("event")

    assert wrong == []
    assert last["type"] == "for.bob"


@pytest.mark.parametrize(
    "jwt",
    [
        "no token",
        "",
        token("alice", -60),
        token("alice", key="another secret of 32 bytes or so!"),
        token(""),
    ],
    ids=["malformed", "empty", "expired", "signature", "no user"],
)
async def test_a_token_that_is_refused_changes_nothing(pod: Pod, jwt: str) -> None:
    async with opened(pod, token=token("alice")) as client:
        answer = await client.log_in(jwt, ref="r")
        await pod.publish(user_audience("alice"), "still.mine")
        event = await client.receive()

    assert (answer["kind"], answer["ref"], answer["code"]) == ("error", "r", "unauthenticated")
    assert event["type"] == "still.mine"


async def test_logging_out_is_refused_where_nobody_may_be_anonymous(start: Start) -> None:
    async with start(allow_anonymous=False) as pod, opened(pod, token=token("alice")) as client:
        answer = await client.log_in(None)
        await pod.publish(AUTHENTICATED, "still.in")
        event = await client.receive()

    assert (answer["kind"], answer["code"]) == ("error", "unauthenticated")
    assert event["type"] == "still.in"


async def test_a_token_ends_after_its_grace_unless_it_is_refreshed(start: Start) -> None:
    """A client that did nothing gets 4401. One that refreshed in time, or logged out, stays."""
    async with (
        start(token_grace_seconds=5) as pod,
        opened(pod, token=token("alice", 5)) as idle,
        opened(pod, token=token("alice", 5)) as refreshed,
        opened(pod, token=token("alice", 5)) as logged_out,
    ):
        ended_at = time.time() + 5
        assert 0 < idle.welcome["expires_in"] <= 5
        assert (await logged_out.log_in(None))["expires_in"] is None
        # In the grace: the tokens have ended, the connections have not.
        while time.time() < ended_at:
            await asyncio.sleep(0.1)
        await pod.publish(AUTHENTICATED, "in.grace")
        in_grace = await idle.receive("event"), await refreshed.receive("event")
        identity = await refreshed.log_in(token("alice", 600))
        code, reason = await idle.closed()
        await pod.publish(type_="after")
        stay = [await client.receive("event") for client in (refreshed, logged_out)]
        counted = await pod.metric("clarion_closes_total", code="4401", reason="expired")

    assert [event["type"] for event in in_grace] == ["in.grace"] * 2
    assert 500 < identity["expires_in"] <= 600
    assert code == 4401
    assert "expired" in str(reason)
    assert [event["type"] for event in stay] == ["after"] * 2
    assert counted == 1
