"""`clarion_gateway.clients.asks`: each question ends, by its answer or by a reason for none."""

from __future__ import annotations

import asyncio

import pytest

from clarion_gateway.application.refusal import AskFailed
from clarion_gateway.clients.asks import Asks
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.wire.messages import Answer
from clarion_gateway.wire.sse import SSE
from tests.gateway.recorder import Recorder, metrics, sample


class Questions:
    """Questions to live clients; notes when the first of a client begins and the last ends."""

    def __init__(self) -> None:
        self.metrics = metrics()
        self.asks = Asks(self.metrics, max_per_connection=2)
        self.changes: list[bool] = []
        self.asks.changed = self.note
        self.hub = Hub()

    def note(self, connection: Connection) -> None:
        self.changes.append(connection in self.asks)

    def client(self, client: Recorder | None = None) -> Recorder:
        client = client or Recorder("alice")
        self.hub.add(client)
        return client

    async def asked(self, client: Recorder, seconds: float = 60) -> asyncio.Task[bytes]:
        before = len(client.written)
        task = asyncio.create_task(self.asks.ask(client, "sure", b"[1]", seconds))
        while len(client.written) == before:
            await asyncio.sleep(0)
        return task

    def count(self, outcome: str) -> float:
        return sample(self.metrics, "clarion_asks_total", outcome=outcome)


@pytest.fixture
def questions() -> Questions:
    return Questions()


async def test_an_answer_reaches_its_own_question(questions: Questions) -> None:
    client = questions.client()
    first, second = await questions.asked(client), await questions.asked(client)
    assert [message["ref"] for message in client.messages] == [1, 2]
    questions.asks.answered(client, Answer(b"2", b'"b"'))
    questions.asks.answered(client, Answer(b"1", b'"a"'))
    assert (await first, await second) == (b'"a"', b'"b"')
    assert questions.changes == [True, False]
    assert questions.count("answered") == 2
    assert client not in questions.asks


async def failure(task: asyncio.Task[bytes]) -> str:
    with pytest.raises(AskFailed) as failed:
        await task
    return failed.value.code


async def test_a_question_has_its_time(questions: Questions) -> None:
    client = questions.client()
    assert await failure(await questions.asked(client, 0.01)) == "ask_timeout"
    questions.asks.answered(client, Answer(b"1", b"null"))
    assert (questions.count("timeout"), questions.count("unasked")) == (1, 1)
    assert questions.changes == [True, False]


async def test_a_client_may_say_that_it_cannot_answer(questions: Questions) -> None:
    client = questions.client()
    task = await questions.asked(client)
    questions.asks.answered(client, Answer(b"1", b"null", "unknown_type: nobody listens"))
    with pytest.raises(AskFailed, match="unknown_type: nobody listens") as failed:
        await task
    assert failed.value.code == "ask_refused"


async def test_a_connection_that_ends_fails_its_questions(questions: Questions) -> None:
    client, other = questions.client(), questions.client()
    task, kept = await questions.asked(client), await questions.asked(other)
    questions.hub.remove(client)
    questions.asks.forget(client)
    assert await failure(task) == "ask_closed"
    assert await failure(asyncio.create_task(questions.asks.ask(client, "a", b"1", 1))) == (
        "ask_closed"
    )
    questions.asks.answered(other, Answer(b"2", b"1"))
    assert await kept == b"1"


async def test_answers_of_other_connections_do_not_count(questions: Questions) -> None:
    client, mallory = questions.client(), questions.client()
    task = await questions.asked(client)
    questions.asks.answered(mallory, Answer(b"1", b'"forged"'))
    assert not task.done()
    questions.asks.answered(client, Answer(b"1", b'"mine"'))
    assert await task == b'"mine"'
    questions.asks.answered(client, Answer(b"1", b'"twice"'))
    assert questions.count("unasked") == 2


async def test_a_client_has_a_limited_number_of_questions(questions: Questions) -> None:
    client = questions.client()
    tasks = [await questions.asked(client) for _ in range(2)]
    with pytest.raises(AskFailed) as failed:
        await questions.asks.ask(client, "sure", b"1", 1)
    assert failed.value.code == "too_many_asks"
    questions.asks.forget(client)
    assert [await failure(task) for task in tasks] == ["ask_closed"] * 2


async def test_nobody_can_answer_on_an_event_stream_or_before_the_welcome(
    questions: Questions,
) -> None:
    stream = questions.client(Recorder(wire_format=SSE))
    with pytest.raises(AskFailed) as failed:
        await questions.asks.ask(stream, "sure", b"1", 1)
    assert failed.value.code == "ask_unsupported"
    with pytest.raises(AskFailed) as failed:
        await questions.asks.ask(Recorder(), "sure", b"1", 1)
    assert failed.value.code == "ask_too_early"
    assert stream.written == []


async def test_a_handler_that_is_cancelled_leaves_nothing(questions: Questions) -> None:
    client = questions.client()
    task = await questions.asked(client)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client not in questions.asks
    assert client.state is State.LIVE
