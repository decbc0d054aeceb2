"""Disconnecting users and revoking tokens, on all gateways at once."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import jwt
import pytest
from websockets.asyncio.client import connect

from clarion.client import Client, Open, Status
from tests.cli.clarion import SECRET
from tests.e2e.client import Socket, opened
from tests.e2e.stack import Stack


def token(user: str, token_id: str, *, issued_ago_seconds: int = 0) -> str:
    now = int(time.time())
    claims = {"sub": user, "jti": token_id, "iat": now - issued_ago_seconds, "exp": now + 600}
    return jwt.encode(claims, SECRET)


async def refusal(url: str, bearer: str) -> int | None:
    """The code with which a gateway turns a client away."""
    address = url.replace("http", "ws", 1) + "/ws"
    headers = {"Authorization": f"Bearer {bearer}"}
    async with connect(address, additional_headers=headers, proxy=None) as connection:
        await connection.wait_closed()
        return connection.close_code


async def everywhere(stack: Stack, bearer: str, exits: AsyncExitStack) -> list[Socket]:
    """A socket at each gateway."""
    return [
        await exits.enter_async_context(opened(gateway.url, bearer)) for gateway in stack.gateways
    ]


async def reasons(sockets: list[Socket]) -> list[tuple[int, str | None]]:
    return [(await each.close_code(), each.connection.close_reason) for each in sockets]


async def test_a_user_is_disconnected_on_all_gateways(stack: Stack) -> None:
    async with AsyncExitStack() as exits:
        ericas = await everywhere(stack, token("erica", "e"), exits)
        (frank,) = (await everywhere(stack, token("frank", "f"), exits))[:1]
        body = {"reason": "your plan has changed"}
        assert await stack.order("/v1/users/erica/disconnect", body) == 2
        assert await reasons(ericas) == [(4409, "your plan has changed")] * 2
        await stack.publish("authenticated", "still.here")
        assert (await frank.receive())["type"] == "still.here"
    async with opened(stack.gateways[1].url, token("erica", "e")):
        """She may come back."""


async def test_a_barred_user_is_told_so_and_the_users_tokens_end(stack: Stack) -> None:
    bearer = token("gus", "g", issued_ago_seconds=2)
    async with AsyncExitStack() as exits:
        sockets = await everywhere(stack, bearer, exits)
        body = {"reason": "banned", "reconnect": False, "revoke": True}
        await stack.order("/v1/users/gus/disconnect", body)
        assert await reasons(sockets) == [(4403, "banned")] * 2
    for gateway in stack.gateways:
        assert await refusal(gateway.url, bearer) == 4401


@pytest.mark.parametrize(
    "path", ["/v1/tokens/stolen%2F1/revoke", "/v1/users/hugo/revoke"], ids=["token", "user"]
)
async def test_a_revoked_token_is_refused_on_all_gateways(own_stack: Stack, path: str) -> None:
    """At once, and by gateways that start later. Other tokens go on."""
    stolen = token("hugo", "stolen/1", issued_ago_seconds=2)
    async with AsyncExitStack() as exits:
        sockets = await everywhere(own_stack, stolen, exits)
        await own_stack.order(path)
        assert {code for code, _ in await reasons(sockets)} == {4401}
    for gateway in own_stack.gateways:
        assert await refusal(gateway.url, stolen) == 4401
    own_stack.gateways[0].kill()
    own_stack.gateways[0].start()
    own_stack.gateways[0].wait_until_ready()
    assert await refusal(own_stack.gateways[0].url, stolen) == 4401
    async with opened(own_stack.gateways[0].url, own_stack.token("hugo")) as client:
        assert client.welcome["user"] == "hugo"


async def test_a_client_that_logs_in_at_once_after_a_revocation_is_let_in(stack: Stack) -> None:
    """Also if the issuer cuts `iat` to whole seconds. The client then asks for tokens until one is
    late enough.
    """
    welcomes: list[str | None] = []

    def note(status: Status) -> None:
        if isinstance(status, Open):
            welcomes.append(status.user)

    async def welcomed(times: int) -> None:
        while len(welcomes) < times:
            await asyncio.sleep(0.01)

    async with (
        asyncio.timeout(60),
        Client(stack.gateways[0].url, get_token=lambda _: token("ines", "i"), on_status=note),
    ):
        await welcomed(1)
        await stack.order("/v1/users/ines/revoke")
        await welcomed(2)
    assert welcomes == ["ines", "ines"]
