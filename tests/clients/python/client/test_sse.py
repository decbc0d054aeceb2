"""The client over server-sent events: by wish, and where no WebSocket gets through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from clarion.client import Client, Event, NoAnswerError, Open, RefusalError, connection
from clarion_contract.protocol import tables
from tests.clients.python.client.test_client import SECONDS, Heard, no_wait, token
from tests.tcp import listening, port_of

OK = "200 OK\r\nContent-Type: text/event-stream"


class Request:
    """A request as it came."""

    def __init__(self, head: str, body: str) -> None:
        line, *headers = head.split("\r\n")
        self.method, self.target, _ = line.split(" ")
        self.path = urlsplit(self.target).path
        self.query = parse_qs(urlsplit(self.target).query)
        self.headers = {
            name.lower(): value for name, _, value in (each.partition(": ") for each in headers)
        }
        self.body = body


Answer = tuple[str, str] | None
"""The head without its version, and the body; None: the connection ends without an answer."""


class Streams:
    """A scripted gateway that answers each request with the next script, then keeps it open."""

    def __init__(self, *answers: Answer, answer: Callable[[Request], Answer] | None = None) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self._stream: asyncio.StreamWriter | None = None
        self._answers = list(answers)
        self._answer = answer or (lambda _: self._answers.pop(0))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Streams]:
        async with listening(self._serve) as server:
            self.url = f"http://127.0.0.1:{port_of(server)}"
            yield self

    async def write(self, text: str) -> None:
        """Write more to the stream that is open."""
        assert self._stream is not None
        self._stream.write(text.encode())
        await self._stream.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().removesuffix("\r\n\r\n")
        request = Request(head, "")
        size = int(request.headers.get("content-length", 0))
        request.body = (await reader.readexactly(size)).decode()
        self.requests.append(request)
        answer = self._answer(request)
        if answer is not None:
            status, body = answer
            stays = status == OK and "$error" not in body and "END" not in body
            text = body.replace("END", "")
            writer.write(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{text}".encode())
            if stays:
                self._stream = writer
                await writer.drain()
                await reader.read()


def welcome(position: str = "10", **changes: Any) -> str:
    fields = {"connection": "c", "user": None, "pod": "g", "resumed": None, **changes}
    return f"id: {position}\nevent: $welcome\ndata: {json.dumps(fields)}\n\n"


def event(id_: str, data: str = "1", topic: str = "") -> str:
    return f"id: {id_}\nevent: a.b\n{f'topic: {topic}' if topic else ':'}\ndata: {data}\n\n"


def sse(url: str, **options: Any) -> Heard:
    return Heard(url, transport="sse", **options)


async def test_follows_and_resumes() -> None:
    gateway = Streams(
        (OK, welcome(connection="one") + event("11") + "END"),
        (OK, welcome("11", connection="two", resumed=True) + event("12", topic="x.y")),
    )
    async with gateway.running():
        heard = await sse(gateway.url, get_token=token, topics=["x.y"]).until("12")
    first, second = gateway.requests
    assert (first.path, first.headers["authorization"]) == ("/sse", "Bearer t")
    assert first.query == {"topic": ["x.y"]}
    assert second.query == {"topic": ["x.y"], "since": ["11"], "connection": ["one"]}
    assert [item.topic for item in heard.items if isinstance(item, Event)] == [None, "x.y"]
    opened = [status for status in heard.statuses if isinstance(status, Open)]
    assert {status.transport for status in opened} == {"sse"}
    assert heard.statuses[2].reason == "connection lost"


@pytest.mark.parametrize(
    "status", sorted({row.status for row in tables.refusals() if row.verdict == "stop"})
)
async def test_ends_where_the_request_is_refused_for_good(status: int) -> None:
    async with Streams((f"{status} X", '{"detail":"the reason"}')).running() as gateway:
        error = await sse(gateway.url).ends()
    assert error.code == status
    assert error.reason.endswith(f"refused with status {status}: the reason")


@pytest.mark.parametrize(
    "label", [close.label for close in tables.closes() if close.verdict == "stop"]
)
async def test_ends_where_the_stream_says_so(label: str) -> None:
    said = f'event: $error\ndata: {{"code":"{label}","message":"why"}}\n\n'
    async with Streams((OK, welcome() + said)).running() as gateway:
        error = await sse(gateway.url, get_token=token).ends()
    assert (error.code, error.reason) == (label, "why")


async def test_a_pod_that_is_full_says_when_to_come_back() -> None:
    full = 'retry: 20\nevent: $error\ndata: {"code":"at_capacity","message":"full"}\n\n'
    gateway = Streams((OK, full), (OK, welcome() + event("11")))
    async with gateway.running():
        heard = await sse(gateway.url).until("11")
    assert heard.pauses == [0.02]


async def test_brings_a_fresh_token_once() -> None:
    gateway = Streams(("401 Unauthorized", "{}"), ("401 Unauthorized", "{}"))
    async with gateway.running():
        error = await sse(gateway.url, get_token=lambda context: context.reason).ends()
    assert error.code == 401
    tokens = [request.headers["authorization"] for request in gateway.requests]
    assert tokens == ["Bearer connect", "Bearer refused"]


async def test_a_silent_stream_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_DEAF_AFTER_INTERVALS", 0.001)
    gateway = Streams((OK, welcome(ping_interval=25)), (OK, welcome("12") + event("13")))
    async with gateway.running():
        heard = await sse(gateway.url).until("13")
    assert heard.statuses[2].reason == "nothing heard for 0.025 s"


async def test_ends_where_something_else_answers() -> None:
    async with Streams(("200 OK\r\nContent-Type: text/html", "hello")).running() as gateway:
        assert (await sse(gateway.url).ends()).code == "not_a_gateway"


async def test_subscribes_and_logs_in_by_a_new_stream() -> None:
    def answer(request: Request) -> tuple[str, str]:
        topics = [topic for topic in request.query.get("topic", []) if topic != "secret"]
        forbidden = ["secret"] if "secret" in request.query.get("topic", []) else []
        user = request.headers.get("authorization", "").removeprefix("Bearer ") or None
        return OK, welcome(topics=topics, forbidden=forbidden, user=user)

    names = iter(["alice", "bob"])
    gateway = Streams(answer=answer)
    async with (
        gateway.running(),
        asyncio.timeout(SECONDS),
        Client(gateway.url, transport="sse", get_token=lambda _: next(names, "bob"), jitter=no_wait) as client,
    ):  # fmt: skip
        await client.subscribe("order.42")
        assert isinstance(client.status, Open)
        assert (client.status.user, client.status.topics) == ("bob", ("order.42",))
        with pytest.raises(RefusalError, match="secret"):
            await client.subscribe("secret")
        with pytest.raises(NoAnswerError, match="the past"):
            await client.subscribe("order.43", last=3)
        await client.unsubscribe("order.42", "order.43")
        assert client.status.topics == ()
        await client.logout()
        assert client.status.user is None
        await client.login()
        assert client.status.user == "bob"
    assert {request.query.get("since", ["10"])[0] for request in gateway.requests} == {"10"}
    asked = ["secret" in request.query.get("topic", []) for request in gateway.requests]
    assert asked.count(True) == 1, "a forbidden topic is not asked for again"


@pytest.mark.parametrize("before", [[], ["a"]])
async def test_a_topic_that_is_refused_does_not_end_the_client(before: list[str]) -> None:
    def answer(request: Request) -> tuple[str, str]:
        topics = request.query.get("topic", [])
        if "*" in topics:
            return "400 Bad Request", '{"detail":"expected a topic"}'
        return OK, welcome(topics=topics)

    async with (
        Streams(answer=answer).running() as gateway,
        asyncio.timeout(SECONDS),
        Client(gateway.url, transport="sse", topics=before) as client,
    ):
        with pytest.raises(RefusalError, match=r"invalid_topic: .*expected a topic"):
            await client.subscribe("*")
        assert isinstance(client.status, Open)
        assert client.status.topics == tuple(before)


async def test_topics_go_by_post_and_the_stream_answers() -> None:
    """The scripted stream has the answers before they are asked for: the client waits for them."""
    asked = asyncio.Event()
    answers = [
        '{"ref":1,"topics":["a"],"events":[]}',
        '{"ref":3,"topics":[],"refused":[{"topic":"full","code":"no_room","message":"later"}]}',
    ]

    def answer(request: Request) -> tuple[str, str]:
        if request.method == "POST":
            asked.set()
            return "202 Accepted", ""
        return OK, welcome(messages="post")

    gateway = Streams(answer=answer)
    texts = [
        f"id: 11\nevent: $subscribed\ndata: {answers[0]}\n\n",
        'event: $error\ndata: {"ref":2,"code":"too_many_topics","message":"expected at most 1"}\n\n',
        f"id: 12\nevent: $subscribed\ndata: {answers[1]}\n\n",
    ]

    async def calls(client: Client) -> None:
        assert (await client.subscribe("a", last=3)).events == ()
        for topic, code in [("b", "too_many_topics"), ("full", "no_room")]:
            with pytest.raises(RefusalError) as refused:
                await client.subscribe(topic)
            assert refused.value.code == code

    async with (
        gateway.running(),
        asyncio.timeout(SECONDS),
        Client(gateway.url, transport="sse") as client,
    ):
        calling = asyncio.create_task(calls(client))
        for text in texts:
            await asked.wait()
            asked.clear()
            await gateway.write(text)
        await calling
        assert isinstance(client.status, Open)
        assert client.status.topics == ("a",)
    bodies = [json.loads(each.body) for each in gateway.requests if each.method == "POST"]
    assert [each["topics"] for each in bodies] == [["a"], ["b"], ["full"]]
    assert len(gateway.requests) == 4, "one stream"


@pytest.mark.parametrize(
    ("status", "body", "reply"),
    [
        ("200 OK", '{"kind":"reply","ref":1,"data":{"x":1}}', {"x": 1}),
        ("200 OK", '{"kind":"error","ref":1,"code":"invalid","message":"no"}', "invalid"),
        ("429 X", '{"code":"rate_limited","detail":"too many"}', "rate_limited"),
        ("409 X", '{"code":"unknown_connection","detail":"gone"}', False),
        ("504 X", '{"code":"no_answer","detail":"late"}', True),
        ("502 Bad Gateway", "<html>", True),
    ],
)
async def test_messages_go_by_post(status: str, body: str, reply: Any) -> None:
    def answer(request: Request) -> tuple[str, str]:
        return (status, body) if request.method == "POST" else (OK, welcome(messages="post"))

    gateway = Streams(answer=answer)
    async with (
        gateway.running(),
        asyncio.timeout(SECONDS),
        Client(
            f"{gateway.url}/sse?tenant=7", transport="sse", get_token=token, topics=["a"]
        ) as client,
    ):
        if isinstance(reply, bool):
            with pytest.raises(NoAnswerError) as lost:
                await client.send("chat", {"text": "hi"})
            assert lost.value.sent is reply
        elif isinstance(reply, str):
            with pytest.raises(RefusalError) as refused:
                await client.send("chat", {"text": "hi"})
            assert refused.value.code == reply
        else:
            assert await client.send("chat", {"text": "hi"}) == reply
    _, posted = gateway.requests
    assert (posted.path, posted.query) == (
        "/sse",
        {"tenant": ["7"], "connection": ["c"], "pod": ["g"]},
    )
    assert posted.headers["authorization"] == "Bearer t"
    message = {"kind": "message", "ref": 1, "type": "chat", "data": {"text": "hi"}}
    assert json.loads(posted.body) == message


async def test_an_older_gateway_takes_no_messages() -> None:
    async with (
        Streams((OK, welcome())).running() as gateway,
        asyncio.timeout(SECONDS),
        Client(gateway.url, transport="sse") as client,
    ):
        with pytest.raises(NoAnswerError, match="takes no messages"):
            await client.send("chat")


@pytest.mark.parametrize(
    "blocked",
    [
        ("426 Upgrade Required", "{}"),  # by a gateway: a proxy lost the upgrade on the way
        None,
        ("x", ""),
    ],
)
async def test_falls_back_where_no_websocket_gets_through(blocked: Answer) -> None:
    def answer(request: Request) -> Answer:
        return blocked if request.path == "/ws" else (OK, welcome() + event("11"))

    async with Streams(answer=answer).running() as gateway:
        heard = await Heard(gateway.url).until("11")
    assert [request.path for request in gateway.requests][-1] == "/sse"
    assert len(gateway.requests) <= 3
    assert heard.client.status.state == "closed"


async def test_goes_back_to_websockets_where_streams_are_no_better() -> None:
    def answer(request: Request) -> Answer:
        return None if request.path == "/ws" else ("404 Not Found", "")

    async with Streams(answer=answer).running() as gateway:
        heard = Heard(gateway.url)
        async with asyncio.timeout(SECONDS), heard.client:
            while len(gateway.requests) < 5:
                await asyncio.sleep(0.001)
    paths = [request.path for request in gateway.requests][:5]
    assert paths == ["/ws", "/ws", "/sse", "/ws", "/ws"]


@pytest.mark.parametrize("wish", ["websocket", "auto"])
async def test_a_gateway_that_is_away_is_no_reason_to_fall_back(wish: str) -> None:
    heard = Heard("http://127.0.0.1:1", transport=wish)
    async with asyncio.timeout(SECONDS), heard.client:
        while len(heard.pauses) < 4:
            await asyncio.sleep(0.001)
    assert heard.client._link._transports.current == "websocket"


def test_there_is_no_such_transport() -> None:
    with pytest.raises(ValueError, match="expected the transport auto, websocket or sse"):
        Client("http://127.0.0.1:8001", transport="polling")  # type: ignore[arg-type]
