"""Messages that clients of event streams send by POST, to the pod with the stream and to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from clarion import Context, Handlers, Refusal, propagate
from clarion_contract.events.audience import topic_audience
from tests.integration.conftest import Start
from tests.integration.pod import SECONDS, Pod, eventually, started, token
from tests.integration.sockets import EventStream, opened, streamed
from tests.redis_topologies import cluster

handlers = Handlers()
MOUNTED = {"handlers": f"{__name__}:handlers", "allowed_origins": ("https://app.example.com",)}


@handlers.on("say", propagate(to="all"))
async def say(text: str, context: Context) -> dict[str, Any]:
    await context.send("note", text)
    return {"text": text, "user": context.user, "connection": context.connection}


@handlers.on("refuses")
async def refuses(message: Any, context: Context) -> None:
    raise Refusal("too_low", "expected a bid above 0")


@handlers.on("hangs")
async def hangs(message: Any, context: Context) -> None:
    await asyncio.Event().wait()


def body(type_: str = "say", data: Any = "hi", **fields: Any) -> dict[str, Any]:
    return {"kind": "message", "ref": 1, "type": type_, "data": data, **fields}


class Sender:
    """A client with a stream, and the address at which it sends."""

    def __init__(self, stream: EventStream, welcome: dict[str, Any], user: str | None) -> None:
        self.stream = stream
        self.welcome = welcome
        self.headers = {"Authorization": f"Bearer {token(user)}"} if user else {}

    async def post(self, pod: Pod, message: Any = None, **request: Any) -> httpx.Response:
        query = {"connection": self.welcome["connection"], "pod": self.welcome["pod"]}
        request = {"params": query, "headers": self.headers, **request}
        if "content" not in request:
            request["json"] = message or body()
        async with httpx.AsyncClient(timeout=SECONDS) as http:
            return await http.post(pod.url("/sse"), **request)


@asynccontextmanager
async def sender(pod: Pod, user: str | None = "alice") -> AsyncIterator[Sender]:
    headers = {"Authorization": f"Bearer {token(user)}"} if user else {}
    async with streamed(pod, **headers) as stream:
        yield Sender(stream, (await stream.welcomed()).value, user)


@pytest.fixture
async def pods(start: Start) -> AsyncIterator[list[Pod]]:
    """Two gateways."""
    async with start(pod="one", **MOUNTED) as one, start(pod="two", **MOUNTED) as two:
        yield [one, two]


@pytest.mark.parametrize("to", [0, 1], ids=["its own pod", "another pod"])
@pytest.mark.parametrize("user", ["alice", None], ids=["a user", "anonymous"])
async def test_a_message_reaches_its_handler_and_the_reply_is_the_answer(
    pods: list[Pod], to: int, user: str | None
) -> None:
    async with sender(pods[0], user) as client, opened(pods[1]) as other:
        assert client.welcome["messages"] == "post"
        answer = await client.post(pods[to], body(ref="r-1"))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        connection = client.welcome["connection"]
        data = {"text": "hi", "user": user, "connection": connection}
        assert answer.json() == {"kind": "reply", "ref": "r-1", "data": data}
        note = await client.stream.receive()
        assert (note.type, note.value) == ("note", "hi")
        assert (await other.receive("event"))["data"] == data
        await pods[0].publish(type_="after")
        assert (await client.stream.receive()).type == "after", "its own event is not for it"
        assert await pods[to].metric("clarion_posts_total", outcome="answered") == 1
        assert await pods[to].metric("clarion_posts_relayed_total") == to
        assert await pods[0].metric("clarion_messages_received_total", outcome="handled") == 1


@pytest.mark.parametrize("to", [0, 1], ids=["its own pod", "another pod"])
async def test_a_refusal_of_the_handler_is_an_answer_too(pods: list[Pod], to: int) -> None:
    async with sender(pods[0]) as client:
        refused = await client.post(pods[to], body("refuses"))
        assert refused.status_code == 200
        assert refused.json() == {
            "kind": "error", "ref": 1, "code": "too_low", "message": "expected a bid above 0",
        }  # fmt: skip
        unknown = (await client.post(pods[to], body("no.such"))).json()
        assert (unknown["kind"], unknown["code"]) == ("error", "unknown_type")


def is_problem(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]


@pytest.mark.parametrize("to", [0, 1], ids=["its own pod", "another pod"])
async def test_nobody_speaks_for_the_stream_of_another(pods: list[Pod], to: int) -> None:
    async with sender(pods[0]) as client:
        bob = {"Authorization": f"Bearer {token('bob')}"}
        is_problem(await client.post(pods[to], headers=bob), 403, "other_user")
        is_problem(await client.post(pods[to], headers={}), 403, "other_user")
        bad = {"Authorization": "Bearer bad"}
        refused = await client.post(pods[to], headers=bad)
        is_problem(refused, 401, "unauthenticated")
        assert refused.headers["www-authenticate"] == "Bearer"
        old = {"Authorization": f"Bearer {token('alice', -10)}"}
        is_problem(await client.post(pods[to], headers=old), 401, "unauthenticated")
        assert await pods[0].metric("clarion_messages_received_total", outcome="handled") == 0
        assert await pods[to].metric("clarion_posts_total", outcome="unauthenticated") == 2


async def test_a_message_needs_a_stream_that_is_open(pods: list[Pod]) -> None:
    alice = {"Authorization": f"Bearer {token('alice')}"}
    async with sender(pods[0]) as client:
        for query in (
            {},
            {"connection": "no-such"},
            {"connection": "no-such", "pod": "one"},
            {"connection": "no-such", "pod": "two"},
            {"connection": client.welcome["connection"], "pod": "two"},
            {"connection": client.welcome["connection"], "pod": "nowhere"},
            {"connection": client.welcome["connection"], "pod": "x}:{" * 300},
        ):
            is_problem(await client.post(pods[0], params=query), 404, "unknown_connection")
        async with opened(pods[0], token=token("alice")) as socket:
            query = {"connection": socket.id, "pod": "one"}
            is_problem(await client.post(pods[0], params=query), 404, "unknown_connection")

    async def is_gone() -> bool:
        return (await client.post(pods[1])).status_code == 404

    assert client.headers.keys() == alice.keys()
    await eventually(is_gone)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b'{"kind":"message"}',
        b'{"kind":"message","type":"say","more":1}',
        b'{"kind":"message","type":"say","ref":{}}',
        b'{"kind":"auth","token":null}',
        b'{"kind":"subscribe","topics":"a"}',
        b'{"kind":"answer","ref":1,"data":null}',
    ],
)
async def test_a_body_that_is_no_message_is_refused(start: Start, content: bytes) -> None:
    async with start(**MOUNTED) as pod, sender(pod) as client:
        is_problem(await client.post(pod, content=content), 400, "malformed")


@pytest.mark.parametrize("to", [0, 1], ids=["its own pod", "another pod"])
async def test_topics_come_and_go_and_the_stream_says_so(pods: list[Pod], to: int) -> None:
    headers = {"Authorization": f"Bearer {token('alice', subscribe=['room.*'])}"}
    async with streamed(pods[0], **headers) as stream:
        client = Sender(stream, (await stream.welcomed()).value, "alice")
        client.headers = headers
        before = await pods[0].publish(topic_audience("room.tea"), type_="before")
        ask = {"kind": "subscribe", "ref": 1, "topics": ["room.tea", "vip"], "last": 5}
        asked = await client.post(pods[to], ask)
        assert (asked.status_code, asked.content) == (202, b"")
        told = await stream.receive()
        assert told.type == "$subscribed"
        assert int(told.id) >= before, "the position"
        assert (told.value["ref"], told.value["topics"]) == (1, ["room.tea"])
        assert told.value["forbidden"] == ["vip"]
        assert [each["id"] for each in told.value["events"]] == [str(before)]
        await pods[1].publish(topic_audience("room.tea"), type_="after")
        assert (await stream.receive()).type == "after"
        await client.post(pods[to], {"kind": "unsubscribe", "ref": "b", "topics": ["room.tea"]})
        told = await stream.receive()
        assert (told.type, told.value) == ("$unsubscribed", {"ref": "b", "topics": ["room.tea"]})


async def test_topics_that_cannot_be_are_refused_and_the_stream_stays_open(start: Start) -> None:
    async with start(max_topics_per_connection=1, **MOUNTED) as pod:
        claims = {"Authorization": f"Bearer {token('alice', subscribe=['*'])}"}
        async with streamed(pod, **claims) as stream:
            client = Sender(stream, (await stream.welcomed()).value, "alice")
            client.headers = claims
            for topics, code in [(["a", "b"], "too_many_topics"), (["* *"], "invalid_topic")]:
                ask = {"kind": "subscribe", "ref": code, "topics": topics}
                assert (await client.post(pod, ask)).status_code == 202
                told = await stream.receive()
                assert told.type == "$error"
                assert (told.value["ref"], told.value["code"]) == (code, code)
            await pod.publish(type_="still")
            assert (await stream.receive()).type == "still"


async def test_a_message_may_be_as_large_as_on_a_websocket(start: Start) -> None:
    async with start(message_max_bytes=1_000, **MOUNTED) as pod, sender(pod) as client:
        assert (await client.post(pod, body(data="x" * 900))).status_code == 200
        is_problem(await client.post(pod, body(data="x" * 1_000)), 413, "too_large")
        assert await pod.metric("clarion_inbound_bytes") == 0


@pytest.mark.parametrize("to", [0, 1], ids=["its own pod", "another pod"])
async def test_messages_count_against_the_streams_budget(start: Start, to: int) -> None:
    limits = {"messages_per_second": 0.001, "message_burst": 2, **MOUNTED}
    async with (
        start(pod="one", **limits) as one,
        start(pod="two", **limits) as two,
        sender(one) as client,
    ):
        pod = (one, two)[to]
        for _ in range(2):
            assert (await client.post(pod)).status_code == 200
            await client.stream.receive()
        limited = await client.post(pod)
        is_problem(limited, 429, "rate_limited")
        assert limited.headers["retry-after"] == "1"
        await one.publish(type_="still")
        assert (await client.stream.receive()).type == "still", "the stream stays open"


async def test_messages_that_wait_are_bounded(start: Start) -> None:
    async with start(handler_backlog=1, **MOUNTED) as pod, sender(pod) as client:
        tasks = [asyncio.create_task(client.post(pod, body("hangs"))) for _ in range(3)]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:  # the others are in the handler, and behind it
            is_problem(task.result(), 429, "rate_limited")
        for task in rest:
            task.cancel()


async def test_a_stream_that_ends_tells_those_whose_messages_wait(start: Start) -> None:
    async with start(handler_seconds=20, **MOUNTED) as pod:
        async with sender(pod) as client:
            tasks = [asyncio.create_task(client.post(pod, body("hangs"))) for _ in range(2)]

            async def has_both() -> bool:
                connection = client.welcome["connection"]
                found = [each for each in pod.gateway.sessions._received if each.id == connection]
                return bool(found) and found[0] in pod.gateway.sessions._inboxes

            await eventually(has_both)
        done, _ = await asyncio.wait(tasks, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
        (dropped,) = done
        is_problem(dropped.result(), 404, "unknown_connection")
        for task in tasks:
            task.cancel()


async def test_the_pod_with_the_stream_may_die_meanwhile(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether the handler ran: the answer says so."""
    monkeypatch.setattr("clarion_gateway.clients.posting._SPARE_SECONDS", 0.1)
    quick = {**MOUNTED, "handler_seconds": 0.2}
    async with (
        start(pod="two", **quick) as two,
        start(pod="one", **quick) as one,
        sender(one) as client,
    ):
        # It takes questions, and never answers.
        one.gateway.sessions._inboxes.put = lambda *_: None  # type: ignore[method-assign]
        is_problem(await client.post(two), 504, "no_answer")
        assert await two.metric("clarion_posts_total", outcome="no_answer") == 1


async def test_a_page_of_a_forbidden_origin_cannot_send(start: Start) -> None:
    async with start(**MOUNTED) as pod, sender(pod) as client:
        forbidden = {**client.headers, "Origin": "https://evil.example"}
        is_problem(await client.post(pod, headers=forbidden), 403, "forbidden_origin")
        allowed = {**client.headers, "Origin": "https://app.example.com"}
        answer = await client.post(pod, headers=allowed)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_a_preflight_allows_what_the_request_needs(start: Start) -> None:
    asks = {
        "Origin": "https://app.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    async with start(**MOUNTED) as pod, httpx.AsyncClient() as http:
        assert (await http.options(pod.url("/sse"), headers=asks)).status_code == 200
    async with start(sse_messages=False, **MOUNTED) as pod, httpx.AsyncClient() as http:
        assert (await http.options(pod.url("/sse"), headers=asks)).status_code == 400


async def test_a_gateway_may_take_none(start: Start) -> None:
    async with start(sse_messages=False, **MOUNTED) as pod, sender(pod) as client:
        assert "messages" not in client.welcome
        refused = await client.post(pod)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")


async def test_it_works_on_a_cluster(tmp_path: Path, namespace: str) -> None:
    with cluster(tmp_path) as topology:
        async with (
            started(topology.url, namespace, pod="one", **MOUNTED) as one,
            started(topology.url, namespace, pod="two", **MOUNTED) as two,
            sender(one) as client,
        ):
            assert (await client.post(two)).json()["data"]["user"] == "alice"
