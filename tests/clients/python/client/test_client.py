"""The client's decisions: it resumes, waits as long as the server says, and ends when it must.

The server is scripted; tests/e2e/test_python_client.py has the real gateways.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from clarion.client import (
    Client,
    Closed,
    ClosedError,
    Connecting,
    Event,
    Message,
    NoAnswerError,
    Open,
    Refresh,
    RefusalError,
    Status,
    Stop,
    TokenContext,
    renewal,
)
from clarion.client.inbox import MAX_ITEMS
from clarion_contract.protocol import tables
from tests.clients.python.client.gateway import Gateway, event, script, welcome
from tests.e2e.ports import free_port
from tests.tcp import listening, port_of

SECONDS = 60


def no_wait() -> float:
    return 0.0


def token(_: TokenContext) -> str:
    return "t"


class Heard:
    """A client, and everything that it tells."""

    def __init__(self, url: Any, **options: Any) -> None:
        self.statuses: list[Status] = []
        options = {"jitter": no_wait, "on_status": self.statuses.append, **options}
        self.items: list[Event | Message | Refresh] = []
        self.client = Client(url, **options)

    async def until(self, id_: str) -> Heard:
        """Follow until that event."""
        async with asyncio.timeout(SECONDS), self.client:
            async for item in self.client:
                self.items.append(item)
                if isinstance(item, Event) and item.id == id_:
                    break
        return self

    async def ends(self) -> ClosedError:
        """Follow until the client closes for good."""
        with pytest.raises(ClosedError) as error:
            await self.until("never")
        assert self.statuses[-1] == Closed(error.value.reason, error.value.code)
        return error.value

    @property
    def pauses(self) -> list[float]:
        return [
            status.retry_seconds
            for status in self.statuses
            if isinstance(status, Connecting) and status.retry_seconds is not None
        ]


async def test_resumes_with_its_position_and_the_connection_that_had_it() -> None:
    gateway = Gateway(
        script(welcome(connection="one"), event("11"), close=1012),
        script(welcome(connection="two", id="11", resumed=True), close=1012),
        script(welcome(connection="three", id="11", resumed=True), event("12")),
    )
    async with gateway.running():
        heard = await Heard(gateway.url, topics=["a.b"]).until("12")
    assert [request.path for request in gateway.requests] == [
        "/ws?topic=a.b",
        "/ws?topic=a.b&since=11&connection=one",
        "/ws?topic=a.b&since=11&connection=one",
    ]
    assert heard.items[0] == Refresh("first", "10")
    assert [item.id for item in heard.items[1:] if isinstance(item, Event)] == ["11", "12"]


async def test_the_states_have_reasons() -> None:
    gateway = Gateway(script(welcome(), close=1012, reason="draining"), script(event("11")))
    async with gateway.running():
        heard = await Heard(gateway.url).until("11")
    url = gateway.url.replace("http", "ws") + "/ws"
    assert heard.statuses == [
        Connecting("connecting", 0, None, url),
        Open("connected", None, "c", "g", None),
        Connecting("1012 draining", 1, 0.0, url),
        Connecting("1012 draining", 1, None, url),
        Closed("closed by the application", "closed"),
    ]


async def test_goes_to_the_next_address_after_a_loss() -> None:
    first = Gateway(script(welcome(), close=1012))
    second = Gateway(script(welcome(), event("11")))
    async with first.running(), second.running():
        await Heard([first.url, second.url]).until("11")
    assert len(first.requests) == len(second.requests) == 1


async def test_comes_back_when_the_gateway_says() -> None:
    hint = {"kind": "reconnect", "after_ms": 30, "reason": "draining"}
    gateway = Gateway(script(welcome(), hint, close=1012), script(welcome(), event("11")))
    async with gateway.running():
        heard = await Heard(gateway.url).until("11")
    assert heard.pauses == [0.03]


async def test_waits_longer_after_each_failure() -> None:
    heard = Heard(f"http://127.0.0.1:{free_port()}", jitter=lambda: 0.01)
    async with asyncio.timeout(SECONDS), heard.client:
        while len(heard.pauses) < 4:
            await asyncio.sleep(0.001)
    assert heard.pauses == pytest.approx([0.0025, 0.005, 0.01, 0.02])
    assert heard.statuses[1].reason.startswith("no gateway answers at 127.0.0.1:")


@pytest.mark.parametrize(
    "code", [close.code for close in tables.closes() if close.verdict == "stop"]
)
async def test_ends_where_the_same_client_would_be_closed_again(code: int) -> None:
    async with Gateway(script(welcome(), close=code, reason="why")).running() as gateway:
        error = await Heard(gateway.url, get_token=token).ends()
    assert (error.code, error.reason) == (code, f"{code} why")


@pytest.mark.parametrize(
    "code",
    sorted({close.code for close in tables.closes() if close.verdict == "retry"} - {1006}),
)
async def test_comes_back_where_it_may_help(code: int) -> None:
    gateway = Gateway(script(welcome(), close=code), script(welcome(), event("11")))
    async with gateway.running():
        await Heard(gateway.url).until("11")
    assert len(gateway.requests) == 2


async def test_brings_a_fresh_token_at_once_after_an_expired_one() -> None:
    reasons = []

    def make(context: TokenContext) -> str:
        reasons.append(context.reason)
        return f"token-{len(reasons)}"

    gateway = Gateway(script(welcome(), close=4401), script(welcome(), event("11")))
    async with gateway.running():
        heard = await Heard(gateway.url, get_token=make, jitter=lambda: 1.0).until("11")
    assert [request.headers["Authorization"] for request in gateway.requests] == [
        "Bearer token-1", "Bearer token-2",
    ]  # fmt: skip
    assert reasons == ["connect", "refused"]
    assert heard.pauses == []


async def test_ends_when_two_tokens_in_a_row_are_refused() -> None:
    gateway = Gateway(*[script(close=4401, reason="bad")] * 2)
    async with gateway.running():
        error = await Heard(gateway.url, get_token=token).ends()
    assert (error.code, len(gateway.requests)) == (4401, 2)


async def test_an_anonymous_client_ends_where_a_token_is_needed() -> None:
    async with Gateway(script(close=4401, reason="a token")).running() as gateway:
        assert (await Heard(gateway.url).ends()).code == 4401


async def test_a_token_function_that_fails_is_asked_again() -> None:
    calls = []

    async def make(context: TokenContext) -> str:
        calls.append(context.reason)
        if len(calls) == 1:
            raise ConnectionError("the issuer is away")
        return "t"

    async with Gateway(script(welcome(), event("11"))).running() as gateway:
        heard = await Heard(gateway.url, get_token=make).until("11")
    assert heard.statuses[1].reason == "no token: the issuer is away"


async def test_a_token_function_may_say_stop() -> None:
    def make(_: TokenContext) -> str:
        raise Stop("not logged in")

    async with Gateway().running() as gateway:
        error = await Heard(gateway.url, get_token=make).ends()
    assert (error.code, error.reason) == ("stopped", "not logged in")
    assert gateway.requests == []


async def renewing(socket: ServerConnection) -> None:
    """A gateway whose token ends soon: it expects a fresh one in band."""
    await socket.send(json.dumps(welcome(user="alice", expires_in=0)))
    auth = json.loads(await socket.recv())
    assert auth == {"kind": "auth", "ref": 1, "token": "expiring"}
    identity = {"kind": "identity", "ref": 1, "user": "alice", "expires_in": 600}
    await socket.send(json.dumps(identity))
    await socket.send(json.dumps(event("11")))
    await socket.wait_closed()


async def test_renews_its_token_in_band_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RENEW_MIN_SECONDS", 0.01)
    async with Gateway(renewing).running() as gateway:
        await Heard(gateway.url, get_token=lambda context: context.reason).until("11")
    assert len(gateway.requests) == 1


async def test_tries_again_to_renew_and_may_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RENEW_MIN_SECONDS", 0.01)
    calls = []

    def make(context: TokenContext) -> str:
        calls.append(context.reason)
        if len(calls) == 2:
            raise ConnectionError("the issuer is away")
        if len(calls) == 3:
            raise Stop("logged out")
        return "t"

    async with Gateway(script(welcome(expires_in=0))).running() as gateway:
        error = await Heard(gateway.url, get_token=make).ends()
    assert calls == ["connect", "expiring", "expiring"]
    assert (error.code, error.reason) == ("stopped", "logged out")


def refusing(status: HTTPStatus, body: str = "", **headers: str) -> Any:
    """A server that answers every handshake with a status."""

    def refuse(socket: ServerConnection, request: Request) -> Response:
        response = socket.respond(status, body)
        response.headers.update(headers)
        return response

    return serve(script(), "127.0.0.1", 0, process_request=refuse)


@pytest.mark.parametrize(
    "status", sorted({row.status for row in tables.refusals() if row.verdict == "stop"})
)
async def test_ends_where_the_handshake_is_refused_for_good(status: int) -> None:
    async with refusing(HTTPStatus(status), '{"detail":"the reason"}') as server:
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        error = await Heard(url, get_token=token, transport="websocket").ends()
    assert error.code == status
    assert error.reason.endswith(f"refused with status {status}: the reason")


async def test_a_refused_handshake_may_say_when_to_come_back() -> None:
    async with refusing(HTTPStatus.SERVICE_UNAVAILABLE, **{"Retry-After": "7"}) as server:
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        heard = Heard(url)
        async with asyncio.timeout(SECONDS), heard.client:
            while not heard.pauses:
                await asyncio.sleep(0.001)
    assert heard.pauses == [7.0]


@pytest.mark.parametrize("text", ["hello", "[]", "{}"])
async def test_ends_where_something_else_speaks_websocket(text: str) -> None:
    async def play(socket: ServerConnection) -> None:
        await socket.send(text)
        await socket.wait_closed()

    async with Gateway(play).running() as gateway:
        assert (await Heard(gateway.url).ends()).code == "not_a_gateway"


async def test_says_that_tls_failed() -> None:
    """A server answers, but without TLS, so "no gateway answers" would be wrong."""
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with listening(answer) as server:
        address = f"127.0.0.1:{port_of(server)}"
        heard = Heard(f"https://{address}", jitter=lambda: 1.0)
        async with asyncio.timeout(SECONDS), heard.client:
            while not heard.pauses:
                await asyncio.sleep(0.001)
        await ended.wait()
    assert heard.statuses[1].reason.startswith(f"TLS with {address} failed: ")


async def test_what_comes_again_after_a_resume_is_dropped() -> None:
    """A gateway on a cluster sends events again. Ids older than a minute are forgotten."""
    minute = 60_000_000
    ids = (1, 3, 2, minute + 2)
    gateway = Gateway(
        script(welcome(), *(event(str(id_)) for id_ in ids), close=1012),
        script(
            welcome(resumed=True),
            *(event(str(id_)) for id_ in (2, 3, 4, 1)),
            event("4", audience="topic", topic="a.b"),
            event("99"),
        ),
    )
    async with gateway.running():
        heard = await Heard(gateway.url).until("99")
    assert [int(item.id) for item in heard.items[1:] if isinstance(item, Event)] == [
        *ids,
        4,
        1,
        4,
        99,
    ]


async def test_tells_when_the_state_must_be_fetched_anew() -> None:
    gateway = Gateway(
        script(welcome("10"), {"kind": "gap", "id": "11"}, close=1012),
        script(welcome("20", resumed=False), close=1012),
        script(welcome("20", resumed=True, topics=["a", "b"], not_resumed=["b"]), event("21")),
    )
    async with gateway.running():
        heard = await Heard(gateway.url).until("21")
    assert heard.items[:-1] == [
        Refresh("first", "10"),
        Refresh("gap", "11"),
        Refresh("not_resumed", "20"),
        Refresh("not_resumed", "20", ("b",)),
    ]


async def test_the_position_is_that_of_the_last_event_that_is_finished() -> None:
    """The application may be killed while it works on one: then it must get it again."""
    async with Gateway(script(welcome(), event("11"), event("12"))).running() as gateway:
        heard = Heard(gateway.url, since="9")
        positions = []
        async with asyncio.timeout(SECONDS), heard.client as client:
            positions.append(client.position)
            async for item in client:
                positions.append(client.position)
                if isinstance(item, Event) and item.id == "12":
                    break
    assert positions == ["9", "9", "10", "11"]


async def test_last_values_come_as_events_and_move_no_position() -> None:
    value = event("7", audience="topic", topic="price.gold")
    told = {
        "kind": "subscribed",
        "ref": None,
        "id": "10",
        "topics": ["price.gold"],
        "events": [value],
    }
    async with Gateway(script(welcome("10"), told, event("11"))).running() as gateway:
        heard = Heard(gateway.url, topics=["price.gold"])
        came = []
        async with asyncio.timeout(SECONDS), heard.client as client:
            async for item in client:
                came.append((item.id, client.position))  # type: ignore[union-attr]
                if came[-1][0] == "11":
                    break
    assert came == [("10", None), ("7", "10"), ("11", "10")]


async def test_an_event_has_its_data_as_they_were_written() -> None:
    data = {"price": 1.10, "id": 12345678901234567890123}
    async with Gateway(script(welcome(), event("11", data=data))).running() as gateway:
        heard = await Heard(gateway.url).until("11")
    (found,) = (item for item in heard.items if isinstance(item, Event))
    assert found.data == data
    assert found.read(dict[str, float])["price"] == 1.10
    assert b"12345678901234567890123" in found.json
    assert (found.type, found.audience, found.topic) == ("a.b", "all", None)


def answering(*answers: dict[str, Any]) -> Any:
    """A gateway that gives an answer to each message, with its ref."""

    async def play(socket: ServerConnection) -> None:
        await socket.send(json.dumps(welcome()))
        for answer in answers:
            asked = json.loads(await socket.recv())
            await socket.send(json.dumps({"ref": asked["ref"], **answer, "data": asked["data"]}))
        await socket.wait_closed()

    return play


async def test_a_message_has_its_reply() -> None:
    refusal = {"kind": "error", "code": "invalid", "message": "data.text is missing"}
    async with (
        Gateway(answering({"kind": "reply"}, refusal)).running() as gateway,
        asyncio.timeout(SECONDS),
        Client(gateway.url) as client,
    ):
        assert await client.send("chat", {"text": "hi"}) == {"text": "hi"}
        with pytest.raises(RefusalError, match=r"invalid: data\.text is missing") as error:
            await client.send("chat", {})
    assert error.value.code == "invalid"


async def test_a_message_without_an_answer_fails() -> None:
    async def lose(socket: ServerConnection) -> None:
        await socket.send(json.dumps(welcome()))
        await socket.recv()
        await socket.close(1012)

    async with (
        Gateway(lose, script(welcome())).running() as gateway,
        asyncio.timeout(SECONDS),
        Client(gateway.url, jitter=no_wait) as client,
    ):
        with pytest.raises(NoAnswerError) as lost:
            await client.send("chat")
        assert lost.value.sent
        with pytest.raises(NoAnswerError, match="no answer in time"):
            await client.send("chat", timeout=0.05)


async def test_a_message_waits_for_a_connection_and_fails_if_none_comes() -> None:
    async with Client(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(NoAnswerError) as error:
            await client.send("chat", timeout=0.05)
    assert not error.value.sent
    with pytest.raises(NoAnswerError, match="the client is closed"):
        await client.send("chat")


async def test_a_message_waits_until_an_attempt_succeeds() -> None:
    gateway = Gateway(script(close=1013), script(close=1013), answering({"kind": "reply"}))
    async with gateway.running():
        client = Client(gateway.url, jitter=no_wait)
        async with asyncio.timeout(SECONDS), client:
            assert await client.send("chat", 7) == 7


async def test_an_answer_comes_through_behind_many_events() -> None:
    """The application asks while it is behind: the client reads on, within a bound."""
    many = [event(str(id_)) for id_ in range(11, 11 + 2 * MAX_ITEMS)]

    async def play(socket: ServerConnection) -> None:
        for message in (welcome(), *many):
            await socket.send(json.dumps(message))
        asked = json.loads(await socket.recv())
        await socket.send(json.dumps({"kind": "reply", "ref": asked["ref"], "data": "here"}))
        await socket.wait_closed()

    async with (
        Gateway(play).running() as gateway,
        asyncio.timeout(SECONDS),
        Client(gateway.url) as client,
    ):
        async for _ in client:
            assert await client.send("chat", timeout=SECONDS) == "here"
            break


async def test_answers_the_applications_questions() -> None:
    answers = []

    async def play(socket: ServerConnection) -> None:
        await socket.send(json.dumps(welcome()))
        await socket.send(json.dumps({"kind": "message", "type": "hint", "data": [1]}))
        for ref, type_ in enumerate(("add", "refuse", "fail", "unknown")):
            ask = {"kind": "ask", "ref": ref, "type": type_, "data": 20}
            await socket.send(json.dumps(ask))
            answers.append(json.loads(await socket.recv()))
        await socket.send(json.dumps(event("11")))
        await socket.wait_closed()

    async def add(data: int) -> int:
        return data + 1

    def refuse(_: object) -> None:
        raise RefusalError("busy", "not now")

    async with Gateway(play).running() as gateway:
        heard = Heard(gateway.url)
        heard.client.on_ask("add", add)
        heard.client.on_ask("refuse", refuse)
        heard.client.on_ask("fail", lambda _: 1 / 0)
        await heard.until("11")
    assert [answer.get("data", answer.get("error", {}).get("code")) for answer in answers] == [
        21, "busy", "internal", "unknown_type",
    ]  # fmt: skip
    assert [answer["ref"] for answer in answers] == [0, 1, 2, 3]
    assert heard.items[1] == Message("hint", b"[1]")
    assert heard.client.position == "10", "a message moves no position"


async def test_logs_in_and_out_on_the_open_socket() -> None:
    tokens = []

    async def play(socket: ServerConnection) -> None:
        await socket.send(json.dumps(welcome(user="alice")))
        while len(tokens) < 2:
            asked = json.loads(await socket.recv())
            tokens.append(asked["token"])
            user = asked["token"] and "bob"
            identity = {"kind": "identity", "ref": asked["ref"], "user": user, "expires_in": None}
            await socket.send(json.dumps(identity))
        await socket.wait_closed()

    async with Gateway(play).running() as gateway:
        client = Client(gateway.url, get_token=lambda context: context.reason)
        async with asyncio.timeout(SECONDS), client:
            await client.logout()
            assert isinstance(client.status, Open)
            assert client.status.user is None
            await client.login()
            assert client.status.user == "bob"
    assert tokens == [None, "login"]


async def test_a_silent_connection_is_given_up() -> None:
    async def fall_silent(socket: ServerConnection) -> None:
        await socket.send(json.dumps(welcome(ping_interval=0.02)))
        await socket.wait_closed()

    async with Gateway(fall_silent, script(welcome(), event("11"))).running() as gateway:
        heard = await Heard(gateway.url).until("11")
    assert Connecting("nothing heard for 0.04 s", 1, 0.0, heard.statuses[0].url) in heard.statuses  # type: ignore[union-attr]


async def test_it_must_be_connected_once() -> None:
    client = Client("http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="async with"):
        async for _ in client:
            pass
    async with client:
        with pytest.raises(RuntimeError, match="not connected before"):
            client.connect()


async def test_close_ends_the_iteration() -> None:
    async with (
        Gateway(script(welcome())).running() as gateway,
        asyncio.timeout(SECONDS),
        Client(gateway.url) as client,
    ):
        items = [item async for item in _closing(client)]
    assert items == [Refresh("first", "10")]


async def _closing(client: Client) -> Any:
    async for item in client:
        yield item
        await client.close()
