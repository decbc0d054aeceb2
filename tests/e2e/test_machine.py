"""A process on its machine: both address families, and variables that are misspelt."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.contract.service.test_serving import has_ipv6
from tests.processes import SECONDS, running


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("service", ["gateway", "publisher"])
def test_both_ports_answer_over_ipv6_and_ipv4(service: str, tmp_path: Path, redis_url: str) -> None:
    with running(service, tmp_path, redis_url, host="") as process:
        for host in ("127.0.0.1", "[::1]"):
            public = httpx.get(f"http://{host}:{process.port}/nothing", trust_env=False)
            assert public.status_code == 404
            internal = httpx.get(f"http://{host}:{process.internal_port}/healthz", trust_env=False)
            assert internal.status_code == 200
        if service == "gateway":
            with socket.create_connection(("::1", process.port), SECONDS) as stream:
                stream.sendall(b"GET /sse HTTP/1.1\r\nHost: [::1]\r\n\r\n")
                assert b"200 OK" in stream.recv(1_000)


@pytest.mark.parametrize("service", ["gateway", "publisher"])
def test_a_misspelt_variable_is_named(service: str, tmp_path: Path, redis_url: str) -> None:
    """Also the one that Kubernetes sets for a Service of that name is no setting, and no mistake."""
    variables = {
        f"{service.upper()}_INTERNAL_PROT": "9090",
        f"{service.upper()}_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "CLARION_SERVICE_HOST": "10.0.0.1",
    }
    with running(service, tmp_path, redis_url, **variables) as process:
        told = [line for line in process.log.read_text().splitlines() if "no setting" in line]
    name = f"{service.upper()}_INTERNAL_P"
    assert len(told) == 1
    assert f"{name}ROT is no setting and has no effect; did you mean {name}ORT?" in told[0]


def test_two_gateways_of_one_name_are_named(tmp_path: Path, redis_url: str) -> None:
    """Both serve, and both tell."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    same = {"CLARION_POD": "twin", "GATEWAY_HEARTBEAT_SECONDS": "1"}
    with (
        running("gateway", folders[0], redis_url, **same) as first,
        running("gateway", folders[1], redis_url, **same) as second,
    ):
        for gateway in (first, second):
            deadline = time.monotonic() + SECONDS
            while gateway.metric("clarion_pods_of_same_name") != 1:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            answer = gateway.ready()
            assert answer.status_code == 200
            assert answer.json()["warnings"] == ["1 more live under the name twin (CLARION_POD)"]
            assert "another gateway lives under the same name" in gateway.log.read_text()
        assert second.stop() == 0
        deadline = time.monotonic() + SECONDS
        while "warnings" in first.ready().json():
            assert time.monotonic() < deadline
            time.sleep(0.05)
