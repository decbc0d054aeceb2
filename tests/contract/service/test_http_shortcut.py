"""A shortcut and an app behind one port: which requests go where, and that clients see no difference."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from clarion_contract.service.http_shortcut import AnswerHeads, ShortAnswer
from clarion_contract.service.http_shortcut_protocol import ShortcutHttpProtocol
from tests.contract.service.test_http_protocol import Client, Service, bounded

SECONDS = 20.0
HEAD = b"POST /short HTTP/1.1\r\nHost: a\r\n"
WHOLE = HEAD + b"Content-Length: 4\r\n\r\nbody"


class Recorder:
    """A shortcut that answers when the test says so."""

    targets = frozenset({b"/short"})

    def __init__(self) -> None:
        self.declines = False
        self.wanted = True
        self.taken: list[tuple[Mapping[bytes, bytes], bytes]] = []
        self.waiting: list[ShortAnswer] = []

    def wants(self, headers: Mapping[bytes, bytes]) -> bool:
        return self.wanted

    def take(self, headers: Mapping[bytes, bytes], body: bytes, answer: ShortAnswer) -> bool:
        if self.declines:
            return False
        self.taken.append((headers, body))
        self.waiting.append(answer)
        return True

    async def holds(self, count: int) -> None:
        """Wait until so many requests have been taken."""
        async with asyncio.timeout(SECONDS):
            while len(self.taken) < count:
                await asyncio.sleep(0.005)

    def answer(self, body: bytes = b"1", headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.waiting.pop(0).send(201, "application/json", body, headers)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def served(recorder: Recorder, **limits: Any) -> contextlib.AbstractAsyncContextManager[Service]:
    """A server whose port has this shortcut."""

    class OfRecorder(ShortcutHttpProtocol):
        shortcut = recorder
        heads = AnswerHeads()

    return bounded(cls=OfRecorder, **limits)


@contextlib.asynccontextmanager
async def connected(recorder: Recorder) -> AsyncIterator[tuple[Service, Client]]:
    async with served(recorder) as service, service.client() as client:
        yield service, client


async def test_a_whole_request_is_answered_without_the_app(recorder: Recorder) -> None:
    async with connected(recorder) as (_, client):
        for number in range(3):
            await client.send(WHOLE)
            await recorder.holds(number + 1)
            recorder.answer(b"%d" % number, (("retry-after", "1"),))
            status, headers, body = await client.answer()
            assert (status, body) == (201, number)
            assert headers["content-type"] == "application/json"
            assert headers["retry-after"] == "1"
            assert "date" in headers
            assert "connection" not in headers
    headers_by_name, body = recorder.taken[0]
    assert (headers_by_name[b"host"], body) == (b"a", b"body")


async def test_chunks_are_joined_and_trailers_are_no_headers(recorder: Recorder) -> None:
    async with connected(recorder) as (_, client):
        await client.send(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\nX: 1\r\n\r\n"
        )
        await recorder.holds(1)
        recorder.answer()
        assert (await client.answer())[0] == 201
    headers, body = recorder.taken[0]
    assert body == b"body"
    assert b"x" not in headers


@pytest.mark.parametrize("cut", [len(HEAD), len(WHOLE) - 4, len(WHOLE) - 1])
async def test_a_small_body_may_come_later(recorder: Recorder, cut: int) -> None:
    async with connected(recorder) as (_, client):
        for number in range(2):
            await client.send(WHOLE[:cut])
            await asyncio.sleep(0.05)
            await client.send(WHOLE[cut:])
            await recorder.holds(number + 1)
            recorder.answer()
            assert (await client.answer())[0] == 201
    assert [body for _, body in recorder.taken] == [b"body"] * 2


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (b"Content-Length: 9000\r\n\r\n", [b"x" * 3_000] * 3),
        (b"Transfer-Encoding: chunked\r\n\r\n", [b"4\r\nxxxx\r\n", b"0\r\n\r\n"]),
    ],
)
async def test_the_app_gets_other_bodies_that_come_in_pieces(
    recorder: Recorder, head: bytes, pieces: list[bytes]
) -> None:
    async with connected(recorder) as (_, client):
        await client.send(HEAD + head + pieces[0])
        for piece in pieces[1:]:
            await asyncio.sleep(0.05)
            await client.send(piece)
        status, _, request = await client.answer()
        assert (status, set(request["body"])) == (200, {"x"})
    assert not recorder.taken


@pytest.mark.parametrize("first", [False, True])
async def test_a_body_that_does_not_come_is_too_slow(recorder: Recorder, first: bool) -> None:
    async with (
        served(recorder, request_seconds=0.5) as service,
        service.client() as client,
    ):
        if not first:
            await client.send(WHOLE)
            await recorder.holds(1)
            recorder.answer()
            assert (await client.answer())[0] == 201
        await client.send(WHOLE[:-1])
        assert (await client.answer())[0] == 408
        assert await client.rest() == b""
        await service.is_empty()
        assert service.refusals == {"head_too_slow": 1}


async def test_a_server_that_stops_waits_for_the_body(recorder: Recorder) -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with served(recorder, grace_seconds=60) as service:
            client = await clients.enter_async_context(service.client())
            await client.send(WHOLE)
            await recorder.holds(1)
            recorder.answer()
            assert (await client.answer())[0] == 201
            await client.send(WHOLE[:-1])
            await asyncio.sleep(0.1)

            async def end_the_body() -> None:
                async with asyncio.timeout(SECONDS):
                    with contextlib.suppress(ConnectionError):
                        while True:  # until nothing listens any more
                            async with service.client():
                                await asyncio.sleep(0.01)
                await client.send(WHOLE[-1:])

            ending = asyncio.create_task(end_the_body())
        await ending
        status, headers, request = await client.answer()
        assert (status, request["body"], headers["connection"]) == (200, "body", "close")


async def test_the_app_serves_what_the_shortcut_does_not_want(recorder: Recorder) -> None:
    recorder.wanted = False
    async with connected(recorder) as (_, client):
        await client.send(WHOLE)
        assert (await client.answer())[2]["body"] == "body"
    assert not recorder.taken


@pytest.mark.parametrize(
    "request_",
    [
        WHOLE.replace(b"/short", b"/other"),
        WHOLE.replace(b"/short", b"/short?a=1"),
        WHOLE.replace(b"POST", b"PUT"),
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WHOLE.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n"),
        WHOLE.replace(b"Host: a\r\n", b"Host: a\r\nX: 1\r\nX: 2\r\n"),
    ],
)
async def test_the_app_serves_what_is_special(recorder: Recorder, request_: bytes) -> None:
    async with connected(recorder) as (_, client):
        await client.send(request_)
        status, _, request = await client.answer()
        assert (status, request["body"]) == (200, "body")
    assert not recorder.taken


async def test_a_client_that_expects_100_gets_it(recorder: Recorder) -> None:
    async with connected(recorder) as (_, client):
        await client.send(WHOLE.replace(b"Host: a\r\n", b"Host: a\r\nExpect: 100-continue\r\n"))
        async with asyncio.timeout(SECONDS):
            assert b"100 Continue" in await client.reader.readuntil(b"\r\n\r\n")
        assert (await client.answer())[0] == 200
    assert not recorder.taken


async def test_the_app_serves_what_the_shortcut_declines(recorder: Recorder) -> None:
    recorder.declines = True
    async with connected(recorder) as (_, client):
        for _ in range(2):
            await client.send(WHOLE)
            status, _, request = await client.answer()
            assert (status, request["body"]) == (200, "body")
            assert [name for name, _ in request["headers"]] == ["host", "content-length"]


async def test_pipelined_requests_are_answered_in_order(recorder: Recorder) -> None:
    async with connected(recorder) as (_, client):
        other = WHOLE.replace(b"/short", b"/other")
        await client.send(WHOLE + other + WHOLE)
        await recorder.holds(1)
        await asyncio.sleep(0.05)
        recorder.answer()
        assert (await client.answer())[0] == 201
        assert (await client.answer())[2]["path"] == "/other"
        assert (await client.answer())[2]["path"] == "/short"
        await client.send(WHOLE)
        await recorder.holds(2)
        recorder.answer()
        assert (await client.answer())[0] == 201


async def test_bytes_that_are_no_request_are_refused_after_the_answer(recorder: Recorder) -> None:
    async with connected(recorder) as (service, client):
        await client.send(WHOLE + b"nonsense\r\n\r\n")
        await recorder.holds(1)
        await asyncio.sleep(0.05)
        recorder.answer()
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (201, "close")
        assert (await client.answer())[0] == 400
        assert await client.rest() == b""
        await service.is_empty()
        assert service.refusals == {"malformed_request": 1}


async def test_a_broken_body_is_refused(recorder: Recorder) -> None:
    async with connected(recorder) as (service, client):
        await client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense")
        assert (await client.answer())[0] == 400
        assert await client.rest() == b""
        await service.is_empty()
    assert not recorder.taken


async def test_a_client_that_left_gets_no_answer(recorder: Recorder) -> None:
    async with served(recorder) as service:
        async with service.client() as client:
            await client.send(WHOLE)
            await recorder.holds(1)
        await service.is_empty()
        recorder.answer()


async def test_a_client_waits_for_its_answer_no_longer_than_for_an_apps(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clarion_contract.service.http_deadline._ANSWER_SECONDS", 0.3)
    async with (
        served(recorder, request_seconds=0.3, idle_seconds=0.3) as service,
        service.client() as client,
    ):
        await client.send(WHOLE)
        assert await client.rest() == b""
        await service.is_empty()
        assert service.refusals == {"answer_timeout": 1}


async def test_a_server_that_stops_answers_first(recorder: Recorder) -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with served(recorder, grace_seconds=60) as service:
            client = await clients.enter_async_context(service.client())
            await client.send(WHOLE)
            await recorder.holds(1)

            async def answer_when_it_stops() -> None:
                async with asyncio.timeout(SECONDS):
                    while recorder.waiting[0].keep_alive:
                        await asyncio.sleep(0.005)
                recorder.answer()

            answering = asyncio.create_task(answer_when_it_stops())
        await answering
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (201, "close")
        assert await client.rest() == b""


def test_a_head_is_made_anew_when_the_date_changes() -> None:
    heads = AnswerHeads()
    first = [(b"date", b"then")]
    made = heads.head(first, 201, "a/b")
    assert made == b"HTTP/1.1 201 Created\r\ndate: then\r\ncontent-type: a/b\r\ncontent-length: "
    assert heads.head(first, 201, "a/b") is made
    assert b"date: now" in heads.head([(b"date", b"now")], 201, "a/b")
    assert b"200 OK" in heads.head([(b"date", b"now")], 200, "a/b")
