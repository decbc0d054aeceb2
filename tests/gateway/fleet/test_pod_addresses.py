"""`clarion_gateway.fleet.pod_addresses`: the address that a pod gives to others."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from clarion_gateway.fleet import pod_addresses
from clarion_gateway.fleet.pod_addresses import own_address
from tests.gateway.recorder import settings


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ({"pod_ip": "10.0.0.7"}, "10.0.0.7:9090"),
        ({"pod_ip": "fd00::7"}, "[fd00::7]:9090"),
        ({"internal_host": "127.0.0.1", "internal_port": 91}, "127.0.0.1:91"),
        ({"internal_host": "not-an-ip"}, ""),
        ({"pod_ip": "10.0.0.7", "internal_port": 0}, ""),
    ],
)
async def test_the_address_is_that_of_the_settings(values: dict[str, Any], address: str) -> None:
    assert await own_address(settings(**values)) == address


async def test_a_slow_name_server_does_not_stop_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()

    def look_up(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        assert answers.wait(30), "the event loop stands still"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    looking = asyncio.create_task(own_address(settings(internal_host="::")))
    await asyncio.sleep(0)
    answers.set()
    assert await looking == "10.0.0.7:9090"


async def test_a_name_server_that_does_not_answer_does_not_keep_the_pod_from_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(pod_addresses, "_own_ip", never)
    monkeypatch.setattr(pod_addresses, "_RESOLVE_SECONDS", 0.01)
    assert await own_address(settings(internal_host="::")) == ""
