"""Ports, servers and signals, as both services use them."""

from __future__ import annotations

import asyncio
import os
import signal

import httpx
import pytest
from starlette.applications import Starlette

from clarion_contract.service.serving import PortInUse, Server, bind, stop_signal


def test_a_port_that_is_taken() -> None:
    with (
        bind("127.0.0.1", 0) as first,
        pytest.raises(PortInUse, match=r"127.0.0.1:\d+: Address already in use"),
    ):
        bind("127.0.0.1", first.getsockname()[1])


def test_an_address_of_another_machine() -> None:
    with pytest.raises(PortInUse, match=r"192.0.2.1:8080"):
        bind("192.0.2.1", 8080)


async def test_a_server_ends_when_it_is_told() -> None:
    with bind("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server = Server(Starlette(), listener, ws="none")
        running = asyncio.create_task(server.run_until_stopped())
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.get(url)
            assert response.status_code == 404
            assert "server" not in response.headers
        server.stop()
        await asyncio.wait_for(running, 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_asks_to_stop(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    stopping = stop_signal()
    assert not stopping.is_set()
    os.kill(os.getpid(), number)
    await asyncio.wait_for(stopping.wait(), 5)
    loop = asyncio.get_running_loop()
    for each, handler in before.items():
        loop.remove_signal_handler(each)
        signal.signal(each, handler)
