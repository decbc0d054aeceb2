"""The address of a gateway's socket, and what a client asks for in its query."""

from __future__ import annotations

import pytest

from clarion.client.address import event_stream_url, websocket_url, with_query


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8001", "ws://127.0.0.1:8001/ws"),
        ("http://127.0.0.1:8001/", "ws://127.0.0.1:8001/ws"),
        ("http://127.0.0.1:8001/realtime/", "ws://127.0.0.1:8001/realtime/ws"),
        ("https://events.example.com", "wss://events.example.com/ws"),
        ("https://events.example.com/realtime/sse", "wss://events.example.com/realtime/ws"),
        ("wss://example.com/realtime/ws?tenant=7", "wss://example.com/realtime/ws?tenant=7"),
    ],
)
def test_a_gateways_url_is_that_of_its_socket(url: str, expected: str) -> None:
    assert websocket_url(url) == expected


def test_the_event_stream_is_beside_the_socket() -> None:
    assert event_stream_url("ws://g:8001/ws") == "http://g:8001/sse"
    assert event_stream_url("wss://g/realtime/ws?topic=a") == "https://g/realtime/sse?topic=a"


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
    with pytest.raises(ValueError, match="expected a gateway's URL like"):
        websocket_url(url)


def test_the_query_names_topics_and_the_position() -> None:
    url = "ws://g/ws?tenant=7&since=1"
    assert with_query(url, [], None, None) == "ws://g/ws?tenant=7"
    assert with_query(url, ["a.b", "c#+=d"], "12", "conn") == (
        "ws://g/ws?tenant=7&topic=a.b&topic=c%23%2B%3Dd&since=12&connection=conn"
    )
