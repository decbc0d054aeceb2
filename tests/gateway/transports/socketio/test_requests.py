"""`clarion_gateway.transports.socketio`: requests that begin no session, and whom a CONNECT is of."""

from __future__ import annotations

import json

import msgspec
import pytest

from clarion_gateway.connections.close_codes import Refused
from clarion_gateway.transports.request import ConnectionRequest, fields_of
from clarion_gateway.transports.socketio.auth import opening_of
from clarion_gateway.transports.socketio.requests import preflight, refused, refused_poll, response
from clarion_gateway.wire.engineio import errors
from clarion_gateway.wire.engineio.errors import EngineError

REQUEST = ConnectionRequest(
    "/socket.io/",
    "topic=order.42&since=17&connection=abc",
    [("authorization", "Bearer of.the.request"), ("x-key", "a:b")],
)


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ("EIO=4&transport=websocket", None),
        ("EIO=4&transport=websocket&t=Pabc&b64=1&app=anything", None),
        ("EIO=3&transport=websocket", errors.UNSUPPORTED_VERSION),
        ("EIO=abc&transport=websocket", errors.UNSUPPORTED_VERSION),
        ("transport=websocket", errors.UNSUPPORTED_VERSION),
        ("EIO=4", errors.UNKNOWN_TRANSPORT),
        ("EIO=4&transport=polling", errors.UNKNOWN_TRANSPORT),
        ("", errors.UNKNOWN_TRANSPORT),
        ("EIO=4&transport=websocket&sid=abc", None),
    ],
)
def test_requests_that_begin_no_session_are_refused_by_code(
    query: str, refusal: EngineError | None
) -> None:
    assert refused(ConnectionRequest("/socket.io/", query, [])) == refusal


@pytest.mark.parametrize(
    ("method", "query", "refusal"),
    [
        ("GET", "EIO=4&transport=polling", None),
        ("GET", "EIO=4&transport=polling&sid=abc&t=Pabc&b64=1", None),
        ("POST", "EIO=4&transport=polling&sid=abc", None),
        ("POST", "EIO=4&transport=polling", errors.NOT_GET),
        ("PATCH", "EIO=4&transport=polling&sid=abc", errors.BAD_REQUEST),
        ("GET", "EIO=4&transport=websocket", errors.BAD_REQUEST),
        ("GET", "EIO=4&transport=websocket&sid=abc", errors.BAD_REQUEST),
        ("GET", "EIO=3&transport=polling", errors.UNSUPPORTED_VERSION),
        ("GET", "EIO=4&transport=", errors.UNKNOWN_TRANSPORT),
    ],
)
def test_requests_that_poll_no_session_are_refused_by_code(
    method: str, query: str, refusal: EngineError | None
) -> None:
    assert refused_poll(fields_of(query), method) == refusal


def test_a_preflight_allows_what_the_page_asks_for() -> None:
    asked = [("origin", "https://a.example"), ("access-control-request-headers", "x-mine")]
    headers = dict(preflight(ConnectionRequest("/socket.io/", "", asked)))
    assert headers["access-control-allow-headers"] == "x-mine"
    assert headers["access-control-allow-origin"] == "https://a.example"
    assert dict(preflight(ConnectionRequest("/socket.io/", "", [])))["allow"]


def test_a_refusal_is_json_and_pages_may_read_it() -> None:
    head, _, body = response(errors.UNKNOWN_SESSION, "https://app.example.com").partition(
        b"\r\n\r\n"
    )
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"access-control-allow-origin: https://app.example.com" in head
    assert json.loads(body) == {"code": 1, "message": "Session ID unknown"}


@pytest.mark.parametrize(
    ("auth", "token"),
    [
        ({"token": "abc"}, "abc"),
        ({"token": "Bearer abc"}, "abc"),
        ({"token": "bearer  abc"}, "abc"),
        ({"token": ""}, ""),
        ({"token": None}, "of.the.request"),
        ({"other": 1}, "of.the.request"),
        (None, "of.the.request"),
    ],
)
def test_the_token_of_a_connect_comes_before_that_of_the_request(
    auth: dict[str, object] | None, token: str
) -> None:
    fields = auth and {
        name: msgspec.Raw(json.dumps(value).encode()) for name, value in auth.items()
    }
    opening = opening_of(fields, REQUEST)
    assert (opening.token, opening.topics) == (token, ("order.42",))
    assert (opening.since, opening.resumes) == (None, None)


@pytest.mark.parametrize("token", [b"12", b"{}", b"[]", b"true", rb'"\ud800"'])
def test_a_token_that_is_no_string_is_refused(token: bytes) -> None:
    with pytest.raises(Refused, match=r"expected auth\.token to be a string"):
        opening_of({"token": msgspec.Raw(token)}, REQUEST)
