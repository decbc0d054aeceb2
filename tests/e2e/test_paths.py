"""Public paths of both services: the one for load balancers, and all of them below a prefix."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.processes import SECONDS, Process, running
from tests.publisher.service import bearer

SERVICES = ("gateway", "publisher")
EVENT = b'{"audience":"all","type":"t","data":1}'


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def get(process: Process, path: str, method: str = "GET", **options: str) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=SECONDS) as client:
        return client.request(method, process.url + path, **options)


def test_a_load_balancer_gets_a_200(service: str, tmp_path: Path, redis_url: str) -> None:
    """Also with HEAD, with HTTP/1.0 and no Host, and with a token or an Origin of anybody."""
    with running(service, tmp_path, redis_url) as process:
        answer = get(process, "/health")
        assert (answer.status_code, answer.text) == (200, "ok\n")
        assert answer.headers["cache-control"] == "no-store"
        assert get(process, "/health", "HEAD").status_code == 200
        assert get(process, "/health", "POST").status_code == 405
        with socket.create_connection(("127.0.0.1", process.port), SECONDS) as client:
            client.sendall(b"GET /health HTTP/1.0\r\nOrigin: https://evil.example\r\n\r\n")
            assert b" 200 " in client.recv(1_000)


def test_a_draining_pod_gets_no_more(service: str, tmp_path: Path, redis_url: str) -> None:
    pause = {f"{service.upper()}_DRAIN_PAUSE_SECONDS": "60"}
    with running(service, tmp_path, redis_url, **pause) as process:
        process.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + SECONDS
        while process.ready().is_success:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert get(process, "/health").status_code == 503


@pytest.mark.parametrize(("path", "status"), [("off", 404), ("/", 200), ("/up/now", 404)])
def test_another_path_or_none(
    service: str, path: str, status: int, tmp_path: Path, redis_url: str
) -> None:
    variable = {f"{service.upper()}_HEALTH_PATH": path}
    with running(service, tmp_path, redis_url, **variable) as process:
        assert get(process, "/health").status_code == 404
        assert get(process, "/").status_code == status
        if path.startswith("/"):
            assert get(process, path).status_code == 200


def test_a_gateway_below_a_prefix(tmp_path: Path, redis_url: str) -> None:
    """Neither beside the prefix nor above it does anything answer."""
    with running(
        "gateway",
        tmp_path,
        redis_url,
        GATEWAY_PATH_PREFIX="/realtime/",
        CLARION_PROFILE="dev",
    ) as gateway:
        with connect(gateway.url.replace("http", "ws") + "/realtime/ws", proxy=None) as client:
            assert "welcome" in str(client.recv(SECONDS))
        with httpx.stream("GET", f"{gateway.url}/realtime/sse", trust_env=False) as stream:
            assert stream.status_code == 200
        assert get(gateway, "/realtime/health").status_code == 200
        assert get(gateway, "/realtime/ws").status_code == 426
        assert get(gateway, "/realtime/").status_code == 200
        for name in ("page.js", "client.js", "page.css", "icon.svg", "links", "session"):
            assert get(gateway, f"/realtime/dev/{name}").status_code == 200
        for path in (
            "/ws",
            "/sse",
            "/health",
            "/",
            "/realtime",
            "/realtimews",
            "/realtime/realtime/ws",
        ):
            assert get(gateway, path).status_code == 404, path
        upgrade = {"connection": "upgrade", "upgrade": "websocket"}
        answer = httpx.get(f"{gateway.url}/ws", headers=upgrade, trust_env=False)
        assert answer.status_code == 404
        assert "/realtime/ws" in answer.json()["detail"]


def test_a_publisher_below_a_prefix(tmp_path: Path, redis_url: str) -> None:
    headers = {**bearer(), "content-type": "application/json"}
    with (
        running(
            "publisher",
            tmp_path,
            redis_url,
            PUBLISHER_PATH_PREFIX="/push",
            CLARION_PROFILE="dev",
        ) as publisher,
        httpx.Client(base_url=publisher.url, headers=headers, trust_env=False) as producer,
    ):
        assert producer.post("/push/v1/events", content=EVENT).status_code == 201
        assert producer.post("/v1/events", content=EVENT).status_code == 404
        assert producer.post("/pushv1/events", content=EVENT).status_code == 404
        assert producer.get("/push/health").status_code == 200
        assert producer.get("/health").status_code == 404
        user = producer.get("/push/v1/users/a%2Fb").json()
        assert user["user"] == "a/b"
        document = producer.get("/push/openapi.json").json()
        assert document["servers"][0]["url"] == "/push"
        page = producer.get("/push/docs").text
        assert "/push/openapi.json" in page
        assert producer.get("/push/docs/files/swagger-ui.css").status_code == 200


@pytest.mark.parametrize("prefix", ["realtime", "/real time", "/a//b", "/a?b", "/{x}"])
def test_a_prefix_that_is_none(service: str, prefix: str, tmp_path: Path) -> None:
    variable = f"{service.upper()}_PATH_PREFIX"
    with Process(service, tmp_path / "log", **{variable: prefix}) as process:
        assert process.end() == 2
        assert variable in process.log.read_text()
