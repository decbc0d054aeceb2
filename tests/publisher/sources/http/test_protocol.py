"""Limits on heads and on slow requests, and ignored upgrades, over raw sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest

from clarion_publisher.sources.http import problems
from tests.publisher.service import Service, serving, token
from tests.redis_topologies import wait_until

MALFORMED = 'clarion_publisher_http_requests_refused_total{reason="malformed_request"}'
EVENT = b'{"audience":"all","type":"t","data":1}'


class Connection:
    """A client that sends any bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.reader = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self.reader.readline().split()[1])
        headers = {}
        while line := self.reader.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers, self.reader.read(int(headers["content-length"]))

    def is_closed(self) -> bool:
        try:
            return self.reader.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


@pytest.fixture
def connection(service: Service) -> Iterator[Connection]:
    connection = Connection(service.port)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def hasty(shared_valkey) -> Iterator[Service]:  # type: ignore[no-untyped-def]
    """A publisher with very short time limits."""
    with serving(shared_valkey.url, request_seconds=0.3, keep_alive_seconds=1) as service:
        yield service


def assert_no_sockets(service: Service) -> None:
    deadline = time.monotonic() + 10
    while service.metric("clarion_publisher_sockets"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def request(*headers: bytes, body: bytes = EVENT) -> bytes:
    lines = [
        b"POST /v1/events HTTP/1.1",
        b"Host: publisher",
        b"Content-Type: application/json",
        b"Authorization: Bearer " + token().encode(),
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def assert_refused(connection: Connection, row: problems.Row) -> None:
    status, headers, body = connection.answer()
    assert status == row.status
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert json.loads(body)["type"] == row.type
    assert connection.is_closed()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
        b"GET http://evil HTTP/1.1\r\nHost: evil\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\r\n" * 1_000,
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
    ],
)
def test_no_http(connection: Connection, nonsense: bytes) -> None:
    connection.send(nonsense)
    assert_refused(connection, problems.MALFORMED_REQUEST)


def test_length_and_chunks_together(connection: Connection) -> None:
    """Attackers exploit proxies and servers that disagree on where such a request ends."""
    connection.send(request(b"Transfer-Encoding: chunked"))
    assert_refused(connection, problems.MALFORMED_REQUEST)


@pytest.mark.parametrize("piece", [b"X-%d: %b\r\n", b"%d%b"], ids=["many headers", "one header"])
def test_a_head_that_does_not_end(connection: Connection, piece: bytes) -> None:
    connection.send(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX: ")
    sent = 0
    try:
        while sent < 32 << 20:  # more than the kernel keeps: a busy publisher refuses it later
            connection.send(piece % (sent, b"a" * 1_000))
            sent += 1_000
    except ConnectionError:
        pass
    assert sent < 32 << 20
    connection.close()


def test_a_large_head_in_one_piece(connection: Connection) -> None:
    connection.send(request(b"X: " + b"a" * 40_000))
    assert_refused(connection, problems.HEAD_TOO_LARGE)


def test_a_body_does_not_count_as_head(connection: Connection) -> None:
    connection.send(request(body=EVENT[:-1] + b" " * 40_000 + b"}"))
    assert connection.answer()[0] == 201


def test_an_upgrade_is_ignored(connection: Connection) -> None:
    """Java's HTTP client asks for one in its first request. The connection goes on afterwards."""
    h2c = (
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    )
    connection.send(request(*h2c))
    assert connection.answer()[0] == 201
    connection.send(request(*h2c))
    assert connection.answer()[0] == 201
    connection.send(request())
    assert connection.answer()[0] == 201


def test_an_upgrade_whose_body_comes_later(connection: Connection) -> None:
    whole = request(b"Connection: Upgrade", b"Upgrade: websocket")
    head, _, body = whole.partition(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    time.sleep(0.05)
    connection.send(body)
    assert connection.answer()[0] == 201


def test_an_upgrade_of_a_chunked_body(connection: Connection) -> None:
    whole = request(b"Connection: Upgrade", b"Upgrade: h2c", body=b"")
    chunked = whole.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    connection.send(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVENT), EVENT))
    assert connection.answer()[0] == 201


def test_many_upgrades_in_one_packet(connection: Connection) -> None:
    """Each counts as an ordinary request, and none of it gets into the log."""
    ask = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    connection.send(ask * 4 + request(b"Connection: Upgrade", b"Upgrade: h2c") * 2)
    assert [connection.answer()[0] for _ in range(6)] == [404] * 4 + [201] * 2


@pytest.mark.parametrize("packets", [1, 2])
def test_a_token_in_a_trailer_identifies_nobody(connection: Connection, packets: int) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    chunk = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(EVENT), EVENT)
    trailers = b"0\r\nAuthorization: Bearer %b\r\n\r\n" % token().encode()
    if packets == 1:
        connection.send(head + chunk + trailers)
        assert connection.answer()[0] == 401
    else:
        connection.send(head + chunk)
        assert connection.answer()[0] == 401
        connection.send(trailers)
        assert connection.is_closed()


@pytest.mark.parametrize("name", [b"", b"A: "], ids=["many trailers", "one trailer"])
@pytest.mark.parametrize("bearer", [True, False], ids=["known", "nobody"])
def test_trailers_without_end(
    service: Service, connection: Connection, name: bytes, bearer: bool
) -> None:
    head = request(b"Transfer-Encoding: chunked", body=b"").replace(b"Content-Length: 0\r\n", b"")
    if not bearer:
        head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    before = service.metric(MALFORMED)
    connection.send(head + b"0\r\n" + name)
    sent = 0
    try:
        while sent < 256 << 20:
            connection.send(b"x" * 60_000 if name else b"a: b\r\n" * 10_000)
            sent += 60_000
    except ConnectionError:
        pass
    assert sent < 64 << 20
    if bearer:
        assert service.metric(MALFORMED) == before + 1


def test_pipelined_requests_are_answered_in_order(connection: Connection) -> None:
    connection.send(request() + request(body=b"{") + request())
    assert [connection.answer()[0] for _ in range(3)] == [201, 400, 201]


def test_expect_continue(connection: Connection) -> None:
    """curl asks before it sends a large body; after a refusal it need not send it."""
    head, _, body = request(b"Expect: 100-continue").partition(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    assert connection.reader.readline().startswith(b"HTTP/1.1 100")
    connection.reader.readline()
    connection.send(body)
    assert connection.answer()[0] == 201


def test_a_refused_client_may_finish_sending(connection: Connection) -> None:
    """It can read its 413 instead of a reset; then the connection ends."""
    body = b" " * (9 << 20)
    connection.send(request(body=body))
    status, headers, _ = connection.answer()
    assert status == 413
    assert headers["connection"] == "close"
    assert connection.is_closed()


def test_a_refused_client_may_not_send_for_ever(connection: Connection) -> None:
    head = request(b"Transfer-Encoding: chunked", body=b"").replace(b"Content-Length: 0\r\n", b"")
    connection.send(head)
    sent = 0
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    try:
        while sent < 256 << 20:
            connection.send(chunk)
            sent += len(chunk)
    except ConnectionError:
        pass
    assert sent < 64 << 20


class TestSlowClients:
    def test_a_head_that_does_not_come(self, hasty: Service) -> None:
        connection = Connection(hasty.port)
        connection.send(b"POST /v1/ev")
        assert_refused(connection, problems.REQUEST_TIMEOUT)
        connection.close()

    def test_a_body_that_does_not_come(self, hasty: Service) -> None:
        connection = Connection(hasty.port)
        connection.send(request()[:-5])
        assert_refused(connection, problems.REQUEST_TIMEOUT)
        connection.close()

    def test_a_trickle_is_no_excuse(self, hasty: Service) -> None:
        connection = Connection(hasty.port)
        trickle = request(b"X: " + b"a" * 1_000)
        sent = 0
        with contextlib.suppress(ConnectionError):
            for byte in trickle:
                connection.send(bytes([byte]))
                sent += 1
                time.sleep(0.02)
        assert sent < len(trickle), "it takes longer than the client may"
        connection.close()

    @pytest.mark.parametrize(
        "data",
        [b"\r\n", b"\n", request() + b"\r\n", request() + b"POST"],
        ids=["an empty line", "half of it", "one after a request", "a begun request"],
    )
    def test_little_more_than_nothing(self, hasty: Service, data: bytes) -> None:
        connection = Connection(hasty.port)
        connection.send(data)
        while not connection.is_closed():
            pass
        connection.close()
        assert_no_sockets(hasty)

    def test_nothing_at_all(self, hasty: Service) -> None:
        connection = Connection(hasty.port)
        assert connection.is_closed()
        connection.close()

    def test_an_answered_client_that_stops_in_its_body(self, hasty: Service) -> None:
        """It gets no second answer after the first."""
        connection = Connection(hasty.port)
        connection.send(request(b"Content-Encoding: gzip")[:-5])
        assert connection.answer()[0] == 415
        assert connection.is_closed()
        connection.close()

    def test_a_client_that_leaves_in_its_body(self, hasty: Service) -> None:
        connection = Connection(hasty.port)
        connection.send(request()[:-5])
        connection.close()
        wait_until(lambda: hasty.metric("clarion_publisher_body_bytes") == 0, "a forgotten body")


def test_one_socket_too_many(redis_url: str) -> None:
    with serving(redis_url, max_sockets=3) as service:
        connections = [Connection(service.port) for _ in range(3)]
        for each in connections:
            each.send(request())
            assert each.answer()[0] == 201
        assert service.metric("clarion_publisher_sockets") == 3
        fourth = Connection(service.port)
        assert_refused(fourth, problems.OVERLOADED)
        fourth.close()
        reason = 'clarion_publisher_http_requests_refused_total{reason="too_many_sockets"}'
        assert service.metric(reason) == 1
        connections[0].send(request())
        assert connections[0].answer()[0] == 201
        for each in connections:
            each.close()
        assert_no_sockets(service)
