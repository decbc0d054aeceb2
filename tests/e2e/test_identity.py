"""Log in, refresh and log out on one socket, with the audiences of both gateways."""

from __future__ import annotations

import jwt
import pytest

from tests.e2e.client import Socket, opened, streamed
from tests.e2e.stack import Stack


async def types_until_the_end(stack: Stack, client: Socket) -> list[str]:
    """Publish one event for each audience and an end; return the types that the client gets."""
    await stack.publish("authenticated", "to.authenticated")
    await stack.publish({"user": "dora"}, "to.dora")
    await stack.publish("all", "the.end")
    return [event["type"] for event in await client.events_until("the.end")]


async def test_a_socket_changes_its_audiences_with_its_identity(stack: Stack) -> None:
    async with opened(stack.gateways[0].url) as client:
        assert client.welcome["user"] is None
        assert client.welcome["expires_in"] is None
        assert await types_until_the_end(stack, client) == ["the.end"]

        await client.send(kind="auth", ref=1, token=stack.token("dora", 600))
        identity = await client.receive()
        assert 500 < identity.pop("expires_in") <= 600
        assert identity == {"kind": "identity", "ref": 1, "user": "dora"}
        everything = ["to.authenticated", "to.dora", "the.end"]
        assert await types_until_the_end(stack, client) == everything

        await client.send(kind="auth", ref="again", token=stack.token("dora", 3_000))
        identity = await client.receive()
        assert identity["ref"] == "again"
        assert 2_900 < identity["expires_in"] <= 3_000

        await client.send(kind="auth", ref=3, token=None)
        assert await client.receive() == {
            "kind": "identity", "ref": 3, "user": None, "expires_in": None,
        }  # fmt: skip
        assert await types_until_the_end(stack, client) == ["the.end"]


async def test_another_user_takes_the_socket_over(stack: Stack) -> None:
    async with opened(stack.gateways[1].url, stack.token("dora")) as client:
        assert client.welcome["user"] == "dora"
        await client.send(kind="auth", ref=1, token=stack.token("emil"))
        assert (await client.receive())["user"] == "emil"
        assert await types_until_the_end(stack, client) == ["to.authenticated", "the.end"]


async def test_a_token_that_fails_changes_nothing(stack: Stack) -> None:
    forged = jwt.encode({"sub": "emil", "exp": 4_000_000_000}, "x" * 32, algorithm="HS256")
    async with opened(stack.gateways[0].url, stack.token("dora")) as client:
        await client.send(kind="auth", ref=1, token=forged)
        error = await client.receive()
        assert (error["kind"], error["ref"], error["code"]) == ("error", 1, "unauthenticated")
        everything = ["to.authenticated", "to.dora", "the.end"]
        assert await types_until_the_end(stack, client) == everything


@pytest.mark.parametrize("place", ["header", "query"])
async def test_a_token_comes_with_the_handshake(stack: Stack, place: str) -> None:
    url, token = stack.gateways[0].url, stack.token("dora")
    if place == "header":
        async with opened(url, token) as client:
            assert client.welcome["user"] == "dora"
    else:
        async with opened(url, token=token) as client:
            assert client.welcome["user"] == "dora"


async def test_an_event_stream_takes_its_token_from_the_query_too(stack: Stack) -> None:
    """A browser's EventSource cannot send headers."""
    async with streamed(stack.gateways[0].url, token=stack.token("dora")) as client:
        assert (await client.receive())["data"]["user"] == "dora"


async def test_tokens_reach_no_log(stack: Stack) -> None:
    token = stack.token("dora")
    async with opened(stack.gateways[0].url, token) as client:
        await client.send(kind="auth", ref=1, token=token)
        await client.receive()
    for service in stack.services:
        assert token not in service.log.read_text()
