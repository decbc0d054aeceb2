"""Growing texts of producers in Python, over HTTP and straight onto Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from clarion import topic
from clarion.publisher import AsyncPublisher, InsufficientScope, Publisher, ServiceToken
from clarion_contract.events.topic import InvalidTopic
from clarion_contract.texts.piece import InvalidText, Piece, piece_of
from tests.conftest import SECRET
from tests.publisher.service import Service, serving

TOKEN = ServiceToken(SECRET, "model", ["publish:topic:answer.*"])


@pytest.fixture
def service(redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("CLARION_NAMESPACE", namespace)
    with serving(redis_url, namespace=namespace) as service:
        yield service


@pytest.fixture(params=["http", "redis"])
def url(request: pytest.FixtureRequest, service: Service, redis_url: str) -> str:
    return service.url if request.param == "http" else redis_url


def last(service: Service) -> Piece:
    return piece_of(service.published(topic("answer.1"))[-1])


async def test_what_is_written_arrives_whole(service: Service, url: str) -> None:
    async with (
        AsyncPublisher(url, token=TOKEN) as publisher,
        publisher.stream("answer.1", "answer", id="a", flush_seconds=0.001) as out,
    ):
        for word in ('"Hello",', " ", "wörld\n"):
            await out.write(word)
            await asyncio.sleep(0.005)
    (event,) = await asyncio.to_thread(service.published, topic("answer.1"))
    piece = piece_of(event)
    assert (event.type, out.state, piece.state) == ("answer", "done", "done")
    assert (piece.stream, piece.text) == ("a", '"Hello", wörld\n')


def test_a_thread_writes_in_the_same_way(service: Service, url: str) -> None:
    with (
        Publisher(url, token=TOKEN) as publisher,
        publisher.stream("answer.1", flush_seconds=0.001) as out,
    ):
        out.write("a")
        out.write("b")
    assert (last(service).text, last(service).state, out.state) == ("ab", "done", "done")
    assert last(service).stream == out.id


def test_an_error_in_a_thread_fails_the_text(service: Service, url: str) -> None:
    def produce() -> None:
        with Publisher(url, token=TOKEN) as publisher, publisher.stream("answer.1") as out:
            out.write("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        produce()
    assert (last(service).text, last(service).reason) == ("a", "error")


def test_a_thread_learns_that_its_text_was_stopped(service: Service, url: str) -> None:
    with Publisher(url, token=TOKEN) as publisher:
        with publisher.stream("answer.1", flush_seconds=0.001) as out:
            assert publisher.stop_stream("answer.1", out.id) == "stopped"
            while True:
                out.write("a")
        assert out.state == "stopped"
        assert publisher.stop_stream("answer.1", "unknown") is None


async def test_a_task_learns_that_its_text_was_stopped(service: Service, url: str) -> None:
    async with AsyncPublisher(url, token=TOKEN) as publisher:
        async with publisher.stream("answer.1", id="a") as out:
            assert await publisher.stop_stream("answer.1", "a") == "stopped"
            await asyncio.Event().wait()
        assert out.state == "stopped"


async def test_what_the_publisher_refuses_is_raised(service: Service, url: str) -> None:
    async with AsyncPublisher(url, token=TOKEN) as publisher:
        with pytest.raises(InsufficientScope):
            async with publisher.stream("order.1"):
                pass
        with pytest.raises(InvalidTopic):
            publisher.stream("order.*")
        with pytest.raises(InvalidText):
            publisher.stream("order.1", id="a b")
