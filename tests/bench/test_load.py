"""The load client's sockets: a process may have more of them than one address has ports."""

from __future__ import annotations

import socket
import sys

import pytest

from clarion_bench.load import connected


@pytest.mark.parametrize(
    ("number", "address"),
    [(0, "127.0.0.1"), (9_999, "127.0.0.1"), (10_000, "127.0.0.2"), (20_000, "127.0.0.3")],
)
def test_every_ten_thousand_sockets_have_an_address(number: int, address: str) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has more than one loopback address")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with connected(port, number) as connection:
            assert connection.getsockname()[0] == address


def test_a_port_that_nobody_listens_on_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connected(port, 0)
