"""Ports, servers and signals, as both services use them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import sys
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from clarion_contract.service.serving import ANY_ADDRESS, PortInUse, Server, bind, stop_signal


def test_a_port_that_is_taken() -> None:
    with (
        bind("127.0.0.1", 0) as first,
        pytest.raises(PortInUse, match=r"127.0.0.1:\d+: Address already in use"),
    ):
        bind("127.0.0.1", first.getsockname()[1])


def test_the_kernel_holds_little_for_a_client_that_does_not_read() -> None:
    """Not sent yet, that is: what is in the client's own buffer is no memory of the service's."""
    not_sent_request = 0x894B  # SIOCOUTQNSD of linux/sockios.h
    if not hasattr(socket, "TCP_NOTSENT_LOWAT") or sys.platform != "linux":
        pytest.skip("the kernel has no such bound, or does not say how much it holds")
    with bind("127.0.0.1", 0) as listener, socket.socket() as client:
        listener.setblocking(True)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            accepted.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted.send(bytes(1 << 16))
            held = fcntl.ioctl(accepted, not_sent_request, bytes(4))
            assert 0 < int.from_bytes(held, sys.byteorder) <= 2 * 131_072


def _reaches(family: int, host: str, port: int) -> bool:
    with socket.socket(family) as client:
        return client.connect_ex((host, port)) == 0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_any_address_means_both_families() -> None:
    with bind(ANY_ADDRESS, 0) as listener:
        port = listener.getsockname()[1]
        assert _reaches(socket.AF_INET, "127.0.0.1", port)
        assert _reaches(socket.AF_INET6, "::1", port)
    with bind("0.0.0.0", 0) as listener:
        assert not _reaches(socket.AF_INET6, "::1", listener.getsockname()[1])
    with bind("::1", 0) as listener:
        assert not _reaches(socket.AF_INET, "127.0.0.1", listener.getsockname()[1])


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_any_address_without_ipv6(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The kernel has no IPv6, or no address of it."""
    real = socket.socket

    class Kernel(real):  # type: ignore[misc,valid-type]
        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(number, "no IPv6")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Kernel)
    with bind(ANY_ADDRESS, 0) as listener:
        assert listener.family == socket.AF_INET
        assert _reaches(socket.AF_INET, "127.0.0.1", listener.getsockname()[1])


def test_a_taken_port_of_any_address() -> None:
    with bind(ANY_ADDRESS, 0) as first, pytest.raises(PortInUse, match="already in use"):
        bind(ANY_ADDRESS, first.getsockname()[1])


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
