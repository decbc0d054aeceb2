"""File descriptors: what a gateway does when it may open fewer files than it has clients."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.integration.sockets import request_of
from tests.processes import SECONDS, Process, running

# Of 400, 32 are set aside. Half of the rest are for Redis and others, half for sockets.
FILES = (64, 400)
SOCKETS = 184
CONNECTIONS = 167

LEAKING = '''
"""Handlers that open files and never close them."""
import os
from clarion import Context, Handlers

handlers = Handlers()
held = []

@handlers.on("leak")
async def leak(data: int, context: Context) -> int:
    """Leave so many descriptors."""
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for _ in range(data):
        os.close(held.pop())
    return len(held)
'''


@contextlib.contextmanager
def socket_to(process: Process) -> Iterator[ClientConnection]:
    url = process.url.replace("http", "ws") + "/ws"
    with connect(url, proxy=None, compression=None, open_timeout=SECONDS) as client:
        yield client


def refusal(process: Process) -> tuple[int, bytes]:
    """Status and body with which a WebSocket is refused.

    A gateway without descriptors answers before it has read the request. If it also closes before
    the client has sent that, the client's system may drop the answer: then ask again.
    """
    address = urlsplit(process.url)
    assert address.port is not None
    answer = b""
    while not answer:
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", address.port), SECONDS) as client,
        ):
            client.sendall(request_of("/ws"))
            while data := client.recv(65_536):
                answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_the_soft_limit_is_raised(tmp_path: Path, redis_url: str) -> None:
    hard = min(4_096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    with running("gateway", tmp_path, redis_url, files=(64, hard)) as gateway:
        assert gateway.metric("process_max_fds") == hard - 32


def test_a_limit_that_fits_stays_as_it_is(tmp_path: Path, redis_url: str) -> None:
    with running(
        "gateway", tmp_path, redis_url, files=(64, 2_288), GATEWAY_MAX_CONNECTIONS="1000"
    ) as gateway:
        assert gateway.metric("clarion_connections_max") == 1_000
        assert "too few" not in gateway.log.read_text()


def test_a_limit_that_does_not_fit_is_lowered(tmp_path: Path, redis_url: str) -> None:
    """Nobody is cut off: those that do not fit get 503, and the health port goes on answering."""
    with (
        contextlib.ExitStack() as clients,
        running("gateway", tmp_path, redis_url, files=FILES) as gateway,
    ):
        assert gateway.metric("clarion_connections_max") == CONNECTIONS
        assert gateway.metric("clarion_connections_configured") == 20_000
        lines = gateway.log.read_text().splitlines()
        (told,) = [line for line in lines if "too few file descriptors" in line]
        assert '"effective": 167' in told
        assert '"needed_hard_limit": 22288' in told
        for _ in range(CONNECTIONS):
            assert "welcome" in str(clients.enter_context(socket_to(gateway)).recv(SECONDS))
        assert refusal(gateway)[0] == 503
        sample = 'clarion_handshakes_total{outcome="at_capacity",wire="websocket"}'
        assert gateway.metric(sample) == 1
        for _ in range(SOCKETS - CONNECTIONS):
            clients.enter_context(socket.create_connection(("127.0.0.1", gateway.port), SECONDS))
        assert b"503" in _answer_of_one_more(gateway)
        assert gateway.ready().status_code == 200
        assert gateway.internal("/healthz").status_code == 200


def _answer_of_one_more(gateway: Process) -> bytes:
    with socket.create_connection(("127.0.0.1", gateway.port), SECONDS) as client:
        return client.recv(1_000)


@pytest.fixture
def leaking(tmp_path: Path, redis_url: str) -> Iterator[Process]:
    (tmp_path / "leaking.py").write_text(LEAKING)
    with running(
        "gateway",
        tmp_path,
        redis_url,
        files=FILES,
        GATEWAY_HANDLERS="leaking:handlers",
        PYTHONPATH=str(tmp_path),
    ) as gateway:
        yield gateway


def leak(client: ClientConnection, left: int) -> None:
    client.send(f'{{"kind":"message","ref":1,"type":"leak","data":{left}}}')
    while '"ref":1' not in (answer := str(client.recv(SECONDS))):
        pass
    assert '"reply"' in answer


def test_clients_are_told_when_something_else_takes_the_descriptors(leaking: Process) -> None:
    with socket_to(leaking) as client:
        leak(client, left=10)
        status, body = refusal(leaking)
        assert status == 503
        assert b"no file descriptor is left" in body
        assert "nearly all file descriptors are in use" in leaking.log.read_text()
        sample = 'clarion_http_requests_refused_total{reason="no_descriptors"}'
        assert leaking.metric(sample) >= 1


def test_the_internal_port_answers_without_a_descriptor(leaking: Process) -> None:
    """One connection after the other, and several at a time."""
    with socket_to(leaking) as client:
        leak(client, left=0)
        for _ in range(5):
            assert leaking.internal("/healthz").status_code == 200
            assert leaking.ready().status_code == 200
        assert leaking.metric("process_open_fds") >= 368
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(leaking.internal, ["/healthz", "/metrics"] * 20))
        assert {answer.status_code for answer in answers} == {200}
