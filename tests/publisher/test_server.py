"""The process: its exit codes, its error line, its drain, and that its log holds no tokens."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from clarion_contract.service.serving import bind
from clarion_contract.service.settings import InvalidSettings
from clarion_publisher.app import running
from clarion_publisher.settings import PublisherSettings
from tests.conftest import SECRET
from tests.processes import SECONDS, Process
from tests.publisher.service import bearer, serving, token
from tests.redis_topologies import wait_until
from tests.valkey import Valkey


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for each in started:
        each.__exit__()


def post(url: str) -> httpx.Response:
    headers = {**bearer(), "content-type": "application/json"}
    body = b'{"audience":"all","type":"t","data":1}'
    return httpx.post(
        f"{url}/v1/events", content=body, headers=headers, timeout=SECONDS, trust_env=False
    )


def test_sigterm_lets_requests_finish(tmp_path: Path, processes: list[Process]) -> None:
    """A request waits for a Redis that hangs. SIGTERM comes, and the request still gets its 201.

    Before that the pod reports that it is not ready, and still serves until load balancers notice.
    """
    valkey = Valkey(tmp_path)
    valkey.start()
    process = Process("publisher", tmp_path / "log", valkey.url, PUBLISHER_DRAIN_PAUSE_SECONDS="3")
    processes.append(process)
    process.wait_until_it_listens()
    assert process.ready().status_code == 200
    process.process.send_signal(signal.SIGTERM)
    while process.ready().json() != {"ready": False, "reasons": ["draining"]}:
        time.sleep(0.02)
    assert post(process.url).status_code == 201
    valkey.signal(signal.SIGSTOP)
    answers: list[int] = []
    under_way = threading.Thread(target=lambda: answers.append(post(process.url).status_code))
    under_way.start()
    wait_until(lambda: not process.listens(), "a closed port")
    assert under_way.is_alive()
    assert process.ready().json()["reasons"][0] == "draining"  # watched until the end
    valkey.signal(signal.SIGCONT)
    under_way.join()
    assert answers == [201]
    assert process.end() == 0
    valkey.kill()


def test_a_request_that_does_not_finish_is_cut_off(redis_url: str) -> None:
    with (
        serving(redis_url, drain_grace_seconds=1) as service,
        socket.create_connection(("127.0.0.1", service.port)) as connection,
    ):
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token()}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head.encode() + b"1234")
        wait_until(lambda: service.metric("clarion_publisher_body_bytes") > 0, "a body")
        started = time.monotonic()
        service.stop()
        assert time.monotonic() - started >= 1, "it had its time"


def test_sockets_never_take_the_last_file(
    tmp_path: Path, processes: list[Process], redis_url: str
) -> None:
    """The soft limit is raised to the hard one, and some files are kept for Redis and others."""
    process = Process("publisher", tmp_path / "log", redis_url, files=(64, 400))
    processes.append(process)
    process.wait_until_it_listens()
    assert process.metric("clarion_publisher_sockets_max") == 184
    assert process.metric("clarion_publisher_sockets_configured") == 10_000
    assert '"needed_hard_limit": 10288' in process.log.read_text()
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(450):
            each = stack.enter_context(socket.create_connection(("127.0.0.1", process.port), 10))
            held.append(each)
            assert process.process.poll() is None
        assert b"503" in held[-1].recv(100)
        assert process.ready().status_code == 200
        assert process.metric("process_open_fds") > 184
        request = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        held[0].sendall(request)
        assert b"401" in held[0].recv(100)
    deadline = time.monotonic() + 20
    while post(process.url).status_code != 201:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_port_in_use(tmp_path: Path, processes: list[Process]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = str(other.getsockname()[1])
        process = Process("publisher", tmp_path / "log", PUBLISHER_INTERNAL_PORT=number)
        processes.append(process)
        assert process.end() == 1
    assert process.log.read_text() == (
        f"publisher: cannot listen on 127.0.0.1:{number}: Address already in use\n"
    )


def test_bad_settings(tmp_path: Path, processes: list[Process]) -> None:
    process = Process(
        "publisher",
        tmp_path / "log",
        redis_url="redis://:secret#1@host",
        CLARION_JWT_SECRET="short",
        PUBLISHER_PORT="tcp://10.0.0.1:8080",
        PUBLISHER_BATCH_MAX_EVENTS="0",
    )
    processes.append(process)
    assert process.end() == 2
    lines = process.log.read_text().splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        "CLARION_REDIS_URL",
        "CLARION_JWT_SECRET",
        "PUBLISHER_PORT",
        "PUBLISHER_BATCH_MAX_EVENTS",
    ]
    assert "enableServiceLinks" in lines[2]
    assert "secret#1" not in process.log.read_text()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("CLARION_JWT_ALGORITHMS", {"jwt_secret": SECRET, "jwt_algorithms": ["none"]}),
        ("CLARION_JWT_ALGORITHMS", {"jwt_secret": SECRET, "jwt_algorithms": ["RS256"]}),
        ("CLARION_JWT_PUBLIC_KEY", {"jwt_public_key": "-----BEGIN nothing"}),
    ],
)
async def test_settings_that_show_to_be_bad_when_used(name: str, settings: Any) -> None:
    with (
        contextlib.closing(bind("127.0.0.1", 0)) as port,
        pytest.raises(InvalidSettings, match=name),
    ):
        async with running(PublisherSettings(**settings), port):
            pass


def test_tokens_never_reach_the_log(tmp_path: Path, processes: list[Process]) -> None:
    """Not when they are refused, nor when Redis is gone, nor at the lowest log level."""
    process = Process("publisher", tmp_path / "log", CLARION_LOG_LEVEL="debug")
    processes.append(process)
    process.wait_until_it_listens()
    tokens = [token(), token(exp=1), "not.a.token", token()[:-5]]
    body = b'{"audience":"all","type":"t","data":1}'
    with httpx.Client(base_url=process.url, trust_env=False) as client:
        for each in tokens:
            headers = {"authorization": f"Bearer {each}", "content-type": "application/json"}
            client.post("/v1/events", content=body, headers=headers)
            client.post(f"/v1/events?token={each}", content=b"{", headers=headers)
            client.get(f"/nothing?token={each}", headers=headers)
    process.process.send_signal(signal.SIGTERM)
    assert process.end() == 0
    log = process.log.read_text()
    assert "bus lost" in log
    assert re.search("drains", log)
    for each in tokens:
        for part in each.split("."):
            assert len(part) < 4 or part not in log
