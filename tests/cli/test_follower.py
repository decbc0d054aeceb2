"""The following client resumes, waits as long as the server says, and gives up when it must.

The server is scripted; tests/e2e has the real gateways.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.follower import SUBPROTOCOL, Follower, Lost, Message
from tests.e2e.ports import free_port

Script = Callable[[ServerConnection], Awaitable[None]]


class Gateway:
    """Plays one script per connection, in order, and records the requests."""

    def __init__(self, *scripts: Script) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self._scripts = list(scripts)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        async with serve(self._play, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            yield self

    async def _play(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.requests.append(socket.request)
        await self._scripts[len(self.requests) - 1](socket)


def script(*messages: dict[str, Any], close: int | None = None, reason: str = "") -> Script:
    async def play(socket: ServerConnection) -> None:
        for message in messages:
            await socket.send(json.dumps(message))
        if close is None:
            await socket.wait_closed()
        else:
            await socket.close(close, reason)

    return play


def welcome(position: str = "10", **changes: Any) -> dict[str, Any]:
    return {
        "kind": "welcome", "connection": "c", "user": None, "pod": "g", "id": position,
        "resumed": None, "expires_in": None, **changes,
    }  # fmt: skip


def event(id_: str) -> dict[str, Any]:
    return {
        "kind": "event", "id": id_, "audience": "all", "type": "a.b",
        "time": "2026-01-02T03:04:05.678901Z", "data": 1,
    }  # fmt: skip


def no_wait() -> float:
    return 0.0


async def until_event(follower: Follower, id_: str) -> list[Message | Lost]:
    seen: list[Message | Lost] = []
    async for item in follower.follow():
        seen.append(item)
        if isinstance(item, Message) and item.kind == "event" and item.fields["id"] == id_:
            return seen
    raise AssertionError


async def test_resumes_after_the_last_event_it_saw() -> None:
    gateway = Gateway(
        script(welcome("10"), event("11"), close=1011), script(welcome("11"), event("12"))
    )
    async with gateway.running():
        await until_event(Follower([gateway.url], jitter=no_wait), "12")
    assert [request.path for request in gateway.requests] == ["/ws", "/ws?since=11&connection=c"]


async def test_names_the_connection_on_which_it_reached_its_position() -> None:
    """The gateway then leaves out the events that this connection sent itself."""
    gateway = Gateway(
        script(welcome("10", connection="a"), event("11"), close=1011),
        script(welcome("11", connection="b", resumed=True), close=1011),
        script(welcome("11", connection="c", resumed=True), event("12"), close=1011),
        script(welcome("12", connection="d", resumed=True), event("13")),
    )
    async with gateway.running():
        await until_event(Follower([gateway.url], jitter=no_wait), "13")
    assert [request.path.rpartition("=")[2] for request in gateway.requests[1:]] == ["a", "a", "c"]


async def test_leaves_a_gateway_that_has_fallen_silent() -> None:
    """Nothing closes the connections of a node that is lost; pings stay away."""
    gateway = Gateway(
        script(welcome("10", ping_interval=0.2), {"kind": "ping"}, event("11")),
        script(welcome("11"), event("12")),
    )
    async with gateway.running():
        seen = await until_event(Follower([gateway.url], jitter=no_wait), "12")
    kinds = [item.kind if isinstance(item, Message) else item.reason for item in seen]
    assert kinds == ["welcome", "event", "nothing heard for 0.4 s", "welcome", "event"]


async def test_stays_as_long_as_pings_come() -> None:
    async def beat(socket: ServerConnection) -> None:
        await socket.send(json.dumps(welcome("10", ping_interval=0.5)))
        for _ in range(12):
            await socket.send(json.dumps({"kind": "ping"}))
            await asyncio.sleep(0.1)
        await socket.send(json.dumps(event("11")))
        await socket.wait_closed()

    gateway = Gateway(beat)
    async with gateway.running():
        await until_event(Follower([gateway.url], jitter=no_wait), "11")
    assert len(gateway.requests) == 1


async def test_resumes_even_before_its_first_event() -> None:
    gateway = Gateway(script(welcome("10"), close=1012), script(welcome("10"), event("11")))
    async with gateway.running():
        await until_event(Follower([gateway.url], jitter=no_wait), "11")
    assert gateway.requests[1].path == "/ws?since=10&connection=c"


async def test_takes_turns_so_that_a_gateway_that_is_gone_does_not_stop_it() -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    async with Gateway(script(welcome(), event("11"))).running() as gateway:
        seen = await until_event(Follower([gone, gateway.url], jitter=no_wait), "11")
    assert isinstance(seen[0], Lost)


async def test_comes_back_when_the_gateway_says() -> None:
    hint = {"kind": "reconnect", "after_ms": 30, "reason": "draining"}
    gateway = Gateway(script(welcome(), hint, close=1012), script(welcome(), event("11")))
    async with gateway.running():
        seen = await until_event(Follower([gateway.url]), "11")
    assert [item.retry_seconds for item in seen if isinstance(item, Lost)] == [0.03]


async def test_waits_longer_after_each_failure() -> None:
    follower = Follower([f"http://127.0.0.1:{free_port()}"], jitter=lambda: 0.01)
    waits = []
    async for item in follower.follow():
        assert isinstance(item, Lost)
        waits.append(item.retry_seconds)
        if len(waits) == 4:
            break
    assert waits == pytest.approx([0.0025, 0.005, 0.01, 0.02])


@pytest.mark.parametrize("code", [4400, 4413])
async def test_gives_up_where_the_same_client_would_be_closed_again(code: int) -> None:
    async with Gateway(script(welcome(), close=code, reason="why")).running() as gateway:
        with pytest.raises(Failure, match=f"{code} why"):
            await until_event(Follower([gateway.url]), "11")


async def test_brings_a_fresh_token_after_an_expired_one() -> None:
    tokens = iter(["first", "second"])
    gateway = Gateway(script(welcome(), close=4401), script(welcome(), event("11")))
    async with gateway.running():
        await until_event(Follower([gateway.url], token=lambda: next(tokens), jitter=no_wait), "11")
    sent = [request.headers["Authorization"] for request in gateway.requests]
    assert sent == ["Bearer first", "Bearer second"]


async def test_gives_up_when_a_fresh_token_is_refused_as_well() -> None:
    async with Gateway(script(close=4401), script(close=4401)).running() as gateway:
        with pytest.raises(Failure, match="does not accept the token"):
            await until_event(Follower([gateway.url], token=lambda: "t", jitter=no_wait), "11")


async def test_gives_up_at_once_when_its_only_token_is_refused() -> None:
    async with Gateway(script(close=4401, reason="expired")).running() as gateway:
        follower = Follower([gateway.url], token=lambda: "t", renewable=False)
        with pytest.raises(Failure, match="4401 expired"):
            await until_event(follower, "11")


async def test_renews_its_token_in_band_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clarion_cli.follower._RENEW_MIN_SECONDS", 0.01)

    async def play(socket: ServerConnection) -> None:
        await socket.send(json.dumps(welcome(user="alice", expires_in=0)))
        auth = json.loads(await socket.recv())
        assert auth == {"kind": "auth", "ref": 1, "token": "second"}
        await socket.send(json.dumps(event("11")))
        await socket.wait_closed()

    tokens = iter(["first", "second"])
    async with Gateway(play).running() as gateway:
        await until_event(Follower([gateway.url], token=lambda: next(tokens)), "11")
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (HTTPStatus.UNAUTHORIZED, "does not accept the token"),
        (HTTPStatus.FORBIDDEN, "refused the connection with status 403"),
        (HTTPStatus.NOT_FOUND, "status 404; is it a gateway's public port?"),
    ],
)
async def test_gives_up_where_the_handshake_is_refused_for_good(
    status: HTTPStatus, message: str
) -> None:
    def refuse(socket: ServerConnection, request: Request) -> Response:
        return socket.respond(status, "")

    async with serve(script(), "127.0.0.1", 0, process_request=refuse) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(Failure, match=message):
            await asyncio.wait_for(until_event(Follower([f"http://127.0.0.1:{port}"]), "11"), 5)


@pytest.mark.parametrize("text", ["hello", "[]", "{}"])
async def test_gives_up_where_something_else_speaks_websocket(text: str) -> None:
    async def play(socket: ServerConnection) -> None:
        await socket.send(text)
        await socket.wait_closed()

    async with Gateway(play).running() as gateway:
        with pytest.raises(Failure, match="not like a gateway of Clarion") as failure:
            await until_event(Follower([gateway.url]), "11")
    assert failure.value.code is ExitCode.UNREACHABLE


async def test_says_that_tls_failed() -> None:
    """A server answers, but without TLS, so "no gateway answers" would be wrong."""

    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        following = Follower([f"https://{address}"], jitter=no_wait).follow()
        lost = await anext(following)
        await following.aclose()
        await ended.wait()
    assert isinstance(lost, Lost)
    assert lost.reason.startswith(f"TLS with {address} failed: ")


async def test_what_comes_again_after_a_resume_is_dropped() -> None:
    """A gateway on a cluster sends events again. Ids older than a minute are forgotten."""
    minute = 60_000_000
    ids = (1, 3, 2, minute + 2)
    again = (2, 3, 4, 1)
    gateway = Gateway(
        script(welcome(), *({"kind": "event", "id": str(id_)} for id_ in ids), close=1012),
        script(welcome(), *({"kind": "event", "id": str(id_)} for id_ in again)),
    )
    heard = []
    async with gateway.running():
        async for message in Follower([gateway.url], jitter=lambda: 0.0).follow():
            if isinstance(message, Message) and message.kind == "event":
                heard.append(int(message.fields["id"]))
            if len(heard) == len(ids) + 2:
                break
    assert heard == [*ids, 4, 1]
