"""Addresses of gateways and publishers."""

from __future__ import annotations

import pytest

from clarion_cli.address import is_local, publisher_url, websocket_url
from clarion_cli.failure import ExitCode, Failure


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8001", "ws://127.0.0.1:8001/ws"),
        ("http://127.0.0.1:8001/", "ws://127.0.0.1:8001/ws"),
        ("http://127.0.0.1:8001/realtime/", "ws://127.0.0.1:8001/realtime/ws"),
        ("https://events.example.com", "wss://events.example.com/ws"),
        ("wss://example.com/realtime/ws?tenant=7", "wss://example.com/realtime/ws?tenant=7"),
    ],
)
def test_a_gateways_url_is_that_of_its_socket(url: str, expected: str) -> None:
    assert websocket_url(url) == expected


NO_URLS = [
    "127.0.0.1:8001",
    "ftp://example.com",
    "http://",
    "",
    "http://a:8001,http://b",
    "http://[",
]


@pytest.mark.parametrize("url", NO_URLS)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(Failure, match="expected a gateway's URL like") as failure:
        websocket_url(url)
    assert failure.value.code is ExitCode.USAGE


@pytest.mark.parametrize("url", [*NO_URLS, "ws://127.0.0.1:8080"])
def test_a_publisher_speaks_http(url: str) -> None:
    with pytest.raises(Failure, match="expected a publisher's URL like") as failure:
        publisher_url(url)
    assert failure.value.code is ExitCode.USAGE


def test_a_publishers_url_may_have_a_path() -> None:
    assert publisher_url("https://example.com/clarion/") == "https://example.com/clarion"


def test_no_proxy_stands_before_this_machine() -> None:
    assert is_local("http://127.0.0.1:8001")
    assert is_local("ws://localhost:8001/ws")
    assert is_local("http://[::1]:8001")
    assert not is_local("https://events.example.com")
    assert not is_local("http://10.0.0.7")
