"""Growing texts on real gateways: whoever comes, comes back or comes late gets each piece once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from clarion import Context, Handlers
from clarion_contract.bus.texts import Texts
from clarion_contract.events.audience import topic_audience
from clarion_contract.texts.writer import Step, TextWriter
from tests.integration.pod import SECONDS, Pod, eventually, started, token
from tests.integration.sockets import Client, opened

TOPIC = "answer.1"
RULES = '{"topics":[{"pattern":"price.*","history":false,"last_value":true}]}'


def reader_of_the_topic() -> dict[str, Any]:
    """The query of a client that receives the topic. Tokens end, so each test makes its own."""
    return {"token": token("alice", subscribe=["answer.*"]), "topic": TOPIC}


handlers = Handlers()
tasks: set[asyncio.Task[None]] = set()
outcomes: list[str] = []


@handlers.on("ask")
async def ask(message: str, context: Context) -> str:
    """Write an answer that never ends by itself."""

    async def write() -> None:
        async with context.stream(TOPIC, "answer", id=message) as out:
            await out.write("Well")
            await asyncio.Event().wait()
        outcomes.append(out.state)

    task = asyncio.create_task(write())
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return message


@handlers.on("stop")
async def stop(message: str, context: Context) -> str | None:
    return await context.stop_stream(TOPIC, message)


class Page:
    """A page that shows texts; it fails if a piece comes twice or is missing."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.seqs: dict[str, int] = {}
        self.states: dict[str, tuple[str, str]] = {}
        self.events = 0

    def apply(self, data: dict[str, Any]) -> None:
        self.events += 1
        name, seq = data["stream"], data["seq"]
        if data["whole"]:
            assert seq >= self.seqs.get(name, 0)
            self.texts[name] = data["text"]
        else:
            assert seq == self.seqs.get(name, 0) + 1, (self.seqs, data)
            self.texts[name] += data["text"]
        self.seqs[name] = seq
        self.states[name] = data["state"], data.get("reason", "")


async def read(client: Client, page: Page, count: int | None = None) -> str | None:
    """Take messages until a text ends, or so many have come; returns the client's position."""
    position = None
    while count is None or count > 0:
        message = await client.receive()
        position = message["id"]
        past = message["events"] if message["kind"] == "subscribed" else [message]
        for event in past:
            page.apply(event["data"])
        if any(state != "writing" for state, _ in page.states.values()):
            break
        count = None if count is None else count - 1
    return position


def texts_of(pod: Pod) -> Texts:
    settings = pod.settings
    return Texts(
        pod.bus,
        settings.keyspace,
        settings.history,
        max_bytes=settings.text_max_bytes,
        lease_seconds=settings.text_lease_seconds,
    )


def writer(pod: Pod, name: str = "a") -> TextWriter:
    return TextWriter(texts_of(pod).carrier(TOPIC, "answer", name), name, flush_seconds=0.005)


@pytest.fixture
async def pods(redis_url: str, namespace: str) -> AsyncIterator[list[Pod]]:
    options = {"handlers": f"{__name__}:handlers", "topic_rules": RULES}
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                started(redis_url, namespace, pod=f"pod-{number}", **options)
            )
            for number in range(2)
        ]


async def test_a_late_client_gets_everything_so_far_in_one_event(pods: list[Pod]) -> None:
    pod = pods[0]
    async with writer(pod) as out:
        for letter in "Hello, ":
            await out.write(letter)
            await asyncio.sleep(0.01)
        async with opened(pod, last=1, **reader_of_the_topic()) as late:
            told = await late.receive("subscribed")
            (event,) = told["events"]
            assert event["data"]["whole"]
            assert "Hello, ".startswith(event["data"]["text"])
            assert (told["ref"], told["topics"]) == (None, [TOPIC])
            assert told["id"] == late.welcome["id"]
            page = Page()
            page.apply(event["data"])
            await out.write("you")
            while page.texts["a"] != "Hello, you":
                await read(late, page, 1)


async def test_pages_that_come_back_and_come_late_have_each_piece_once(pods: list[Pod]) -> None:
    written = [f"{number} " for number in range(400)]
    chance = random.Random(1)

    async def write() -> None:
        async with writer(pods[0]) as out:
            for piece in written:
                await out.write(piece)
                await asyncio.sleep(0.003)

    async def follow() -> Page:
        page, since = Page(), None
        while page.states.get("a", ("writing", ""))[0] == "writing":
            where = {"since": since} if since else {"last": 1}
            if chance.random() < 0.2:  # a reload, or another device
                page, where = Page(), {"last": 1}
            async with opened(chance.choice(pods), **reader_of_the_topic(), **where) as client:
                since = client.welcome["id"]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(chance.random() / 3):
                        while True:
                            since = await read(client, page, 1) or since
                            if page.states["a"][0] != "writing":
                                break
        return page

    async def end(pages: list[asyncio.Task[Page]]) -> list[Page]:
        return [await each for each in pages]

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        pages = [group.create_task(follow()) for _ in range(8)]
    for page in await end(pages):
        assert page.texts == {"a": "".join(written)}
        assert page.states == {"a": ("done", "")}


async def test_a_client_that_was_away_gets_one_event_for_all_that_it_missed(
    pods: list[Pod],
) -> None:
    async with writer(pods[0]) as out:
        await out.write("a")
        async with opened(pods[0], last=1, **reader_of_the_topic()) as client:
            page = Page()
            since = await read(client, page, 1)
        for _ in range(50):
            await out.write("b")
            await asyncio.sleep(0.006)
    for pod in pods:
        async with opened(pod, since=since, **reader_of_the_topic()) as client:
            assert client.welcome["resumed"] is True
            page = Page()
            await read(client, page)
            assert (page.texts["a"], page.events) == ("a" + "b" * 50, 1)


async def test_an_event_source_gets_the_same(pods: list[Pod]) -> None:
    async with writer(pods[0]) as out, httpx.AsyncClient(trust_env=False) as http:
        await out.write("a")
        url = pods[1].url("/sse")
        async with http.stream(
            "GET", url, params={**reader_of_the_topic(), "last": 1}, timeout=SECONDS
        ) as stream:
            page = Page()
            lines = stream.aiter_lines()
            name, wrote = "", False
            async for line in lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: ") and name in {"$subscribed", "answer"}:
                    data = httpx.Response(200, content=line.removeprefix("data: ")).json()
                    for each in data["events"] if name == "$subscribed" else [{"data": data}]:
                        page.apply(each["data"])
                if page.texts.get("a") == "a" and not wrote:
                    wrote = True
                    await out.write("b")
                if page.texts.get("a") == "ab":
                    break


async def test_anybody_may_stop_a_text_wherever_it_is_written(pods: list[Pod]) -> None:
    first, second = pods
    async with opened(first) as producer, opened(second, last=1, **reader_of_the_topic()) as reader:
        outcomes.clear()
        assert (await producer.ask("ask", "b"))["data"] == "b"
        page = Page()
        while page.texts.get("b") != "Well":
            await read(reader, page, 1)
        await reader.send(kind="message", ref=1, type="stop", data="b")
        answer = None
        while page.states["b"][0] == "writing" or answer is None:
            message = await reader.receive()
            if message["kind"] == "reply":
                answer = message["data"]
            else:
                page.apply(message["data"])
        assert (answer, page.states["b"]) == ("stopped", ("stopped", ""))

        async def left() -> bool:
            return outcomes == ["stopped"]

        await eventually(left, what="the block is left")
        assert (await producer.ask("stop", "b"))["data"] == "stopped"
        assert (await producer.ask("stop", "unknown"))["data"] is None


async def test_a_producer_that_dies_is_told(redis_url: str, namespace: str) -> None:
    async with started(redis_url, namespace, text_lease_seconds=1) as pod:
        carry = texts_of(pod).carrier(TOPIC, "answer", "a")
        async with opened(pod, **reader_of_the_topic()) as reader:
            await carry(Step(1, b"a"))
            page = Page()
            await read(reader, page)
            assert page.states == {"a": ("failed", "lost")}
        await pod.counted("clarion_texts_lost_total")


async def test_a_subscriber_gets_the_last_value_without_asking(pods: list[Pod]) -> None:
    first, second = pods
    price = topic_audience("price.1")
    await first.publish(price, "price", b"1")
    await first.publish(price, "price", b"2")
    await first.publish(price, "price", b"3", history=False)
    allowed = token("alice", subscribe=["price.*", "answer.*"])
    for pod in pods:
        async with opened(pod, token=allowed, topic="price.1") as at_once:
            told = await at_once.receive("subscribed")
            assert (told["topics"], [each["data"] for each in told["events"]]) == (["price.1"], [2])
    async with opened(second, token=allowed) as later:
        await later.send(kind="subscribe", ref=1, topics=["price.1", "price.2", TOPIC])
        told = await later.receive("subscribed")
        assert told["topics"] == ["price.1", "price.2", TOPIC]
        assert [each["data"] for each in told["events"]] == [2]
        await second.publish(price, "price", b"4")
        assert (await later.receive("event"))["data"] == 4
        await later.send(kind="subscribe", ref=2, topics=[TOPIC])
        assert "events" not in await later.receive("subscribed")
    listing = token("alice", topics=["price.1"])
    async with opened(first, token=listing) as listed:
        assert [each["data"] for each in (await listed.receive("subscribed"))["events"]] == [4]


@pytest.mark.parametrize("last", ["0", "x", "-1", "1000000", "9" * 40])
async def test_a_past_that_cannot_be_is_refused(pods: list[Pod], last: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(pods[0].url("/sse"), params={**reader_of_the_topic(), "last": last})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("expected last to be")


async def test_a_token_that_brings_topics_brings_their_last_values(pods: list[Pod]) -> None:
    price = topic_audience("price.1")
    await pods[0].publish(price, "price", b"1")
    newest = await pods[0].publish(price, "price", b"2")
    async with opened(pods[1], token=token("alice")) as client:
        more = token("alice", topics=["price.1", "price.2"])
        await client.send(kind="auth", ref=1, token=more)
        assert (await client.receive("identity"))["topics"] == ["price.1", "price.2"]
        told = await client.receive("subscribed")
        assert told["ref"] is None
        assert [(each["id"], each["data"]) for each in told["events"]] == [(str(newest), 2)]
        await client.send(kind="auth", ref=2, token=more)
        await client.receive("identity")
        await pods[1].publish(price, "price", b"3")
        assert (await client.receive())["data"] == 3, "no value comes twice"
