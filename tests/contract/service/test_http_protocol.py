"""The bounded HTTP protocol alone: uvicorn, an app that reports its requests, and raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from clarion_contract.service import http_deadline, http_protocol
from clarion_contract.service.http_port import HttpLimits, Port
from clarion_contract.service.http_protocol import BoundedHttpProtocol, protocol_class
from clarion_contract.service.serving import Server, bind

SECONDS = 20.0
"""How long a test waits for what should come soon."""

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the request as the app saw it, once it is complete."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    headers = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
    await answer(send, 200, {"path": scope["path"], "headers": headers, "body": body.decode()})


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, before the request is complete."""
    await answer(send, 401, {"path": scope["path"]})


async def answer(send: Any, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


class Service:
    """A server with one bounded port."""

    def __init__(self, port: Port, number: int, refusals: Counter[str]) -> None:
        self.port = port
        self.number = number
        self.refusals = refusals

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()

    async def is_empty(self) -> None:
        """Wait until no connection is left."""
        async with asyncio.timeout(SECONDS):
            while self.port.open:
                await asyncio.sleep(0.01)


class Client:
    """A client that sends any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        async with asyncio.timeout(SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, json.loads(body)

    async def rest(self) -> bytes:
        """Everything that comes until the server ends the connection."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def is_ended(self) -> None:
        """Wait until the server accepts no more bytes, not even to throw them away."""
        await self.rest()
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionError):
                while True:
                    await self.send(b"x")
                    await asyncio.sleep(0.05)


Start = Callable[..., contextlib.AbstractAsyncContextManager[Service]]


@contextlib.asynccontextmanager
async def bounded(
    app: Any = echo,
    *,
    max_sockets: int = 1_000,
    cls: type[BoundedHttpProtocol] = BoundedHttpProtocol,
    grace_seconds: int = 1,
    **limits: Any,
) -> AsyncIterator[Service]:
    """A server with one bounded port."""
    refusals: Counter[str] = Counter()

    def refused(reason: str) -> None:
        refusals[reason] += 1

    port = Port(HttpLimits(**limits), max_sockets=max_sockets, refused=refused)
    listener = bind("127.0.0.1", 0)
    http = protocol_class(cls, port)
    server = Server(app, listener, http=http, ws="none", timeout_graceful_shutdown=grace_seconds)
    serving = asyncio.create_task(server.run_until_stopped())
    try:
        yield Service(port, listener.getsockname()[1], refusals)
    finally:
        server.stop()
        await serving


@pytest.fixture
def start() -> Start:
    return bounded


# Deadlines

STALLS = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "half an empty line": b"\r",
    "another half": b"\n",
    "one byte": b"P",
    "half a line": b"GET / HT",
    "a line": b"GET / HTTP/1.1\r\n",
    "half a head": b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
    "no body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
    "half a body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345",
    "no chunk": CHUNKED,
    "half a chunk": CHUNKED + b"5\r\n12",
    "a chunk's extension": CHUNKED + b"5;a=",
    "no last chunk": CHUNKED + b"5\r\n12345\r\n",
    "half a trailer": CHUNKED + b"0\r\nA: ",
    "a request, then nothing": GET,
    "a request, then an empty line": GET + b"\r\n",
    "a request, then half a line": GET + b"GET ",
    "a request, then half a body": GET + CHUNKED + b"5\r\n12",
    "an upgrade, then nothing": UPGRADE,
    "an upgrade's half body": UPGRADE.replace(b"Upgrade:", b"Content-Length: 9\r\nUpgrade:") + b"1",
}


@pytest.mark.parametrize("idle_seconds", [0.2, None])
async def test_no_client_that_stops_is_kept(start: Start, idle_seconds: float | None) -> None:
    async def stop_in(service: Service, stall: bytes) -> None:
        async with service.client() as client:
            await client.send(stall)
            await client.rest()
            await client.is_ended()

    async with start(request_seconds=0.2, idle_seconds=idle_seconds) as service:
        stalls = (stop_in(service, stall) for stall in STALLS.values())
        ends = await asyncio.gather(*stalls, return_exceptions=True)
        kept = [name for name, end in zip(STALLS, ends, strict=True) if end is not None]
        assert not kept
        await service.is_empty()


@pytest.mark.parametrize("idle_seconds", [0.3, None])
async def test_empty_lines_win_no_time(start: Start, idle_seconds: float | None) -> None:
    async with (
        start(request_seconds=0.3, idle_seconds=idle_seconds) as service,
        service.client() as client,
    ):
        await client.send(b"\r\n")
        await client.rest()
        assert not service.refusals["malformed_request"]
    async with start(idle_seconds=60) as service, service.client() as client:
        await client.send(b"\r\n")
        await asyncio.sleep(0.05)
        await client.send(b"\r\n")
        assert (await client.answer())[0] == 400
        assert service.refusals == {"malformed_request": 1}


async def test_an_empty_line_before_a_request_does_no_harm(start: Start) -> None:
    """RFC 9112, section 2.2."""
    async with start() as service, service.client() as client:
        for _ in range(3):
            await client.send(b"\r\n")
            await asyncio.sleep(0.02)
            await client.send(GET + b"\r\n")
            assert (await client.answer())[0] == 200


async def test_a_trickle_wins_no_time(start: Start) -> None:
    async with start(request_seconds=0.3) as service, service.client() as client:

        async def trickle() -> None:
            with contextlib.suppress(ConnectionError):
                for byte in CHUNKED + b"5\r\n12345\r\n" * 1_000:
                    await client.send(bytes([byte]))
                    await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        assert (await client.answer())[0] == 408
        assert await client.rest() == b""
        await service.is_empty()
        await trickling
        assert service.refusals == {"head_too_slow": 1}


async def test_a_body_comes_at_the_least_rate_or_not_at_all(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "RATE_WINDOW_SECONDS", 0.3)
    monkeypatch.setattr(http_deadline, "RATE_WINDOW_SECONDS", 0.3)
    async with (
        start(request_seconds=2, body_bytes_per_second=1_000) as service,
        service.client() as slow,
        service.client() as fast,
    ):
        for client in (slow, fast):
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")

        async def feed() -> None:
            for _ in range(10):
                await fast.send(b"x" * 1_000)
                await asyncio.sleep(0.05)

        feeding = asyncio.create_task(feed())
        status, headers, problem = await slow.answer()
        assert status == 408
        assert headers["connection"] == "close"
        assert problem["detail"] == "expected a body at 1000 bytes per second or more"
        assert (await fast.answer())[0] == 200
        await feeding


async def test_an_answer_that_nobody_takes_is_given_up(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_deadline, "_ANSWER_SECONDS", 0.3)

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1_000):
            chunk = {"type": "http.response.body", "body": bytes(1 << 16), "more_body": True}
            await send(chunk)
        await send({"type": "http.response.body", "body": b""})

    async with start(large) as service, service.client() as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        while not service.port.open:
            await asyncio.sleep(0.01)
        await service.is_empty()
        assert service.refusals == {"answer_timeout": 1}


# Bytes


async def flood(client: Client, begin: bytes, piece: bytes, most: int = 64 << 20) -> int:
    """Send for as long as the server reads; return how many bytes it took."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        await client.send(begin)
        while sent < most:
            await client.send(piece)
            sent += len(piece)
    return sent


FLOODS = {
    "a target": (b"GET /", b"x" * 65_536, 431),
    "headers": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"a: b\r\n" * 10_000, 431),
    "one header's name": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"x" * 65_536, 431),
    "one header's value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"x" * 65_536, 431),
    "space before a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b" " * 65_536, 431),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000, 400),
    "one trailer": (CHUNKED + b"0\r\nX: ", b"x" * 65_536, 400),
    "trailers of a body": (CHUNKED + b"5\r\n12345\r\n0\r\nX: ", b"x" * 65_536, 400),
    "a chunk's extension": (CHUNKED + b"5;a=", b"x" * 65_536, 400),
    "extensions of small chunks": (CHUNKED, b"1;a=%b\r\n1\r\n" % (b"x" * 200) * 300, 400),
    "empty lines": (b"", b"\r\n" * 10_000, 400),
    "empty lines after a request": (GET, b"\r\n" * 10_000, 400),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_every_byte_counts(start: Start, kind: str) -> None:
    begin, piece, status = FLOODS[kind]
    async with start() as service, service.client() as client:
        flooding = asyncio.create_task(flood(client, begin, piece))
        answered = [await client.answer()]
        if begin == GET:
            answered.append(await client.answer())
        assert answered[-1][0] == status
        assert answered[-1][1]["connection"] == "close"
        await client.rest()
        assert await flooding < 16 << 20
        await service.is_empty()
        assert service.refusals.total() == 1


async def test_a_head_may_be_as_large_as_the_limit_and_not_larger(start: Start) -> None:
    async with start(head_max_bytes=1_024) as service:
        for size, pieces, status in ((1_024, 1, 200), (1_024, 7, 200), (1_025, 1, 431), (1_025, 7, 431)):  # fmt: skip
            head = GET[:-2] + b"X: " + b"x" * (size - len(GET) - 5) + b"\r\n\r\n"
            assert len(head) == size
            async with service.client() as client:
                step = -(-size // pieces)
                for begin in range(0, size, step):
                    await client.send(head[begin : begin + step])
                    await asyncio.sleep(0.01)
                assert (await client.answer())[0] == status, (size, pieces)


async def test_a_head_of_many_tiny_lines_is_refused(start: Start) -> None:
    """Each line takes memory many times its bytes."""
    async with start() as service:
        for lines, status in ((127, 200), (128, 431)):
            async with service.client() as client:
                head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * lines + b"\r\n"
                await client.send(head)
                assert (await client.answer())[0] == status
        assert service.refusals == {"head_too_large": 1}


async def test_a_body_is_no_part_of_the_head(start: Start) -> None:
    """Nor is one request a part of the next, wherever packets begin."""
    body = b"x" * 5_000
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\nX: %b\r\n\r\n" % (b"x" * 800)
    async with start(head_max_bytes=1_024) as service, service.client() as client:
        stream = (request + body) * 10
        for begin in range(0, len(stream), 1_777):
            await client.send(stream[begin : begin + 1_777])
        for _ in range(10):
            status, _, seen = await client.answer()
            assert (status, seen["body"]) == (200, body.decode())


async def test_small_chunks_are_welcome(start: Start) -> None:
    """Python's own JSON encoder makes such chunks: one for each bracket."""
    async with start() as service, service.client() as client:
        await client.send(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
        status, _, seen = await client.answer()
        assert (status, seen["body"]) == (200, "x" * 50_000)


@pytest.mark.parametrize("pause", [0, 0.05])
async def test_a_trailer_is_no_header(start: Start, pause: float) -> None:
    """It belongs neither to its own request's headers nor to the next one's (RFC 9110, 6.5.1)."""
    async with start() as service, service.client() as client:
        for begin, end in ((CHUNKED + b"2\r\nhi\r\n", b"0\r\nAuthorization: Bearer t\r\n\r\n"), (GET, b"")):  # fmt: skip
            await client.send(begin)
            await asyncio.sleep(pause)
            await client.send(end)
            status, _, seen = await client.answer()
            assert status == 200
            assert {name for name, _ in seen["headers"]} <= {"host", "transfer-encoding"}


# Heads

MALFORMED = {
    "an absolute target without a path": b"GET http://evil HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target without a path, but a query": b"GET http://evil?x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a path beyond ASCII": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "a path of UTF-8": "GET /ü HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "a host that does not end": b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a name": b"GET nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    "an authority": b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT with a path": b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "a Host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a Host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a Host with a user": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a Host with a strange port": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "HTTP/2 without a preface": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": CHUNKED.replace(b"Host", b"Content-Length: 3\r\nHost"),
    "nonsense": b"nonsense\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_a_head_that_cannot_be_served_is_answered(start: Start, kind: str) -> None:
    async with start() as service:
        async with service.client() as client:
            await client.send(MALFORMED[kind])
            status, headers, problem = await client.answer()
            assert status == 400
            assert headers["content-type"] == "application/problem+json"
            assert headers["connection"] == "close"
            assert problem["detail"].startswith("expected ")
            assert await client.rest() == b""
        await service.is_empty()
        assert service.refusals == {"malformed_request": 1}


SERVED = {
    "a host and a port": b"GET /x HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
    "an address": b"GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "an empty Host": b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
    "an absolute target": b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.0": b"GET /x HTTP/1.0\r\n\r\n",
    "HTTP/1.0 with a Host": b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("kind", SERVED)
async def test_other_heads_are_served(start: Start, kind: str) -> None:
    async with start() as service, service.client() as client:
        await client.send(SERVED[kind])
        status, _, seen = await client.answer()
        assert (status, seen["path"]) == (200, "/x")


# Order, and ends


async def test_a_malformed_request_waits_for_the_answers_before_it(start: Start) -> None:
    for second, status in ((b"nonsense\r\n\r\n", 400), (CHUNKED + b"nonsense\r\n", 400)):
        async with start() as service, service.client() as client:
            await client.send(GET + GET + second)
            assert [(await client.answer())[0] for _ in range(3)] == [200, 200, status]
            assert await client.rest() == b""


async def test_few_requests_wait_behind_one_another(start: Start) -> None:
    """Accepted requests are answered; then the connection ends."""
    async with start() as service, service.client() as client:
        await client.send(GET * 5_000)
        raw = await client.rest()
        assert 1 < raw.count(b"HTTP/1.1 200 OK") < 50
        assert raw.count(b"connection: close") == 1
        await service.is_empty()


async def test_upgrades_in_one_packet_are_answered(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start() as service, service.client() as client:
        await client.send(UPGRADE * 10)
        assert [(await client.answer())[0] for _ in range(10)] == [200] * 10
        body = UPGRADE.replace(b"Upgrade:", b"Content-Length: 2\r\nUpgrade:") + b"hi"
        await client.send(body * 3)
        assert [(await client.answer())[2]["body"] for _ in range(3)] == ["hi"] * 3
    assert not caplog.records


@pytest.mark.parametrize("begin", [CHUNKED, CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: 9000000")])  # fmt: skip
async def test_an_early_answer_ends_the_connection_and_is_read(start: Start, begin: bytes) -> None:
    async with start(refuse) as service, service.client() as client:
        await client.send(begin)
        status, headers, _ = await client.answer()
        assert status == 401
        assert headers["connection"] == "close"
        # What it still sends is no request, and is thrown away for a while.
        await client.send(b"5\r\n12345\r\n0\r\n\r\n" + GET)
        assert await client.rest() == b""
        await client.is_ended()
        await service.is_empty()


async def test_an_early_answer_is_read_by_a_client_that_sends_first(start: Start) -> None:
    async with start(refuse) as service, service.client() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
        await client.send(bytes(9_000_000))
        assert (await client.answer())[0] == 401


async def test_nobody_sends_for_ever_after_an_early_answer(start: Start) -> None:
    async with start(refuse) as service, service.client() as client:
        started = time.monotonic()
        sent = await flood(client, CHUNKED, b"10000\r\n" + bytes(65_536) + b"\r\n", 1 << 30)
        assert sent < 64 << 20 or time.monotonic() - started > 4
        await service.is_empty()


async def test_a_whole_request_that_is_refused_keeps_its_connection(start: Start) -> None:
    async with start(refuse) as service, service.client() as client:
        for _ in range(3):
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            status, headers, _ = await client.answer()
            assert status == 401
            assert "connection" not in headers


async def test_a_body_in_pieces_keeps_its_connection(start: Start) -> None:
    async with start() as service, service.client() as client:
        for _ in range(3):
            for piece in (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n", b"h", b"i"):
                await client.send(piece)
                await asyncio.sleep(0.02)
            status, headers, seen = await client.answer()
            assert (status, seen["body"]) == (200, "hi")
            assert "connection" not in headers


# Sockets


async def test_one_socket_too_many_is_turned_away(start: Start) -> None:
    async with start(max_sockets=2) as service:
        async with service.client() as first, service.client() as second:
            for client in (first, second):
                await client.send(GET)
                assert (await client.answer())[0] == 200
            async with service.client() as third:
                status, headers, problem = await third.answer()
                assert status == 503
                assert headers["retry-after"] == "1"
                assert problem["detail"].startswith("expected at most 2 connections")
                await third.is_ended()
            assert service.refusals == {"too_many_sockets": 1}
            await first.send(GET)
            assert (await first.answer())[0] == 200
        await service.is_empty()
        async with service.client() as client:
            await client.send(GET)
            assert (await client.answer())[0] == 200


async def test_a_port_that_carries_one_request_each_answers_one(start: Start) -> None:
    class Once(BoundedHttpProtocol):
        keeps_alive = False

    async with start(cls=Once, idle_seconds=None) as service, service.client() as client:
        await client.send(GET + GET + b"nonsense")
        status, headers, _ = await client.answer()
        assert status == 200
        assert headers["connection"] == "close"
        assert await client.rest() == b""
        await service.is_empty()
        assert not service.refusals
