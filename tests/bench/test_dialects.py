"""Handshakes have the form that each server expects."""

from __future__ import annotations

import pytest

from clarion_bench.contenders import CONTENDERS
from clarion_bench.dialects import CLARION, PLAIN, PLAIN_DEFLATE, SOCKET_IO


def test_request_is_a_websocket_handshake() -> None:
    request = PLAIN.request(8001).decode()
    assert request.startswith("GET /ws HTTP/1.1\r\n")
    assert request.endswith("\r\n\r\n")
    assert "Sec-WebSocket-Protocol" not in request


def test_clarion_gets_its_subprotocol_and_the_token_in_the_query() -> None:
    request = CLARION.request(8001, "?token=abc").decode()
    assert request.startswith("GET /ws?token=abc HTTP/1.1\r\n")
    assert "\r\nSec-WebSocket-Protocol: clarion.v1\r\n" in request


def test_a_token_follows_the_query_of_socket_io() -> None:
    (query,) = CONTENDERS["clarion-socketio"].queries(1)
    request = SOCKET_IO.request(8001, query).decode()
    assert request.startswith("GET /socket.io/?EIO=4&transport=websocket&token=")
    assert CONTENDERS["clarion-socketio"].dialect is CONTENDERS["socketio"].dialect
    assert CONTENDERS["clarion-polling"].dialect is CONTENDERS["socketio-polling"].dialect


def test_socket_io_is_asked_for_websocket_alone_and_its_pings_are_answered() -> None:
    assert "EIO=4&transport=websocket" in SOCKET_IO.request(8001).decode()
    assert SOCKET_IO.greeting == ((b"0{", b"40"), (b"40{", b""))
    assert SOCKET_IO.answers[b"2"] == b"3"


def test_compression_is_offered_so_that_frames_can_be_shared() -> None:
    offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"
    assert offer in PLAIN_DEFLATE.request(8001).decode()
    assert "Sec-WebSocket-Extensions" not in PLAIN.request(8001).decode()


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        ("permessage-deflate; server_no_context_takeover", ""),
        ("permessage-deflate", "server_no_context_takeover"),
        (None, "permessage-deflate"),
    ],
)
def test_a_server_has_to_agree_on_compression(extensions: str | None, reason: str) -> None:
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket"
    if extensions is not None:
        head += f"\r\nSec-WebSocket-Extensions: {extensions}"
    refusal = PLAIN_DEFLATE.refusal(head.encode())
    assert (reason in refusal) if reason else (refusal == "")
    assert PLAIN.refusal(head.encode()) == ""


def test_a_refused_handshake_is_named_by_its_status() -> None:
    assert PLAIN_DEFLATE.refusal(b"HTTP/1.1 403 Forbidden\r\nA: b") == "HTTP/1.1 403 Forbidden"
