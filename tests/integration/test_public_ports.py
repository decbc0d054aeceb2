"""The public ports of both services: common headers, and nothing of the internal port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import pytest
from prometheus_client import CollectorRegistry, Gauge
from starlette.routing import Route

from clarion_contract.service.internal import internal_app
from clarion_contract.service.readiness import Health
from clarion_contract.service.serving import RESPONSE_HEADERS
from tests.integration.conftest import Start
from tests.integration.pod import token
from tests.integration.sockets import connected, request_of
from tests.publisher.service import ALL_SCOPES, serving
from tests.publisher.service import token as service_token

ORIGIN = "https://app.example.com"


class Port(Protocol):
    """The attributes of a service that `connected` needs."""

    port: int


STREAM = "text/event-stream; charset=utf-8"


def _no_reasons() -> Health:
    return Health()


INTERNAL = [
    route.path
    for route in internal_app(
        CollectorRegistry(), _no_reasons, Gauge("ready", "Ready.", registry=None)
    ).routes
    if isinstance(route, Route)
]
"""Every path of the internal port."""


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    fields = {"Host": "a", "Content-Length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body


async def answer(port: Port, sent: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers as received, and the beginning of the body."""
    async with connected(port) as raw:  # type: ignore[arg-type]
        await raw.send(sent)
        head = (await raw.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = [(name.lower(), value) for name, _, value in (x.partition(": ") for x in lines)]
        length = int(dict(headers).get("content-length", "0"))
        body = await raw.reader.readexactly(length) if not sent.startswith(b"HEAD") else b""
        return int(status.split()[1]), headers, body


def says(headers: list[tuple[str, str]], *, own_policy: bool = False) -> None:
    """Check that each of the headers is there once with the right value."""
    for name, expected in RESPONSE_HEADERS.items():
        values = [value for key, value in headers if key == name]
        assert len(values) == 1, (name, headers)
        if name == "cache-control" and ("content-type", STREAM) in headers:
            assert values == [f"{expected}, no-transform"]
        elif not (own_policy and name == "content-security-policy"):
            assert values == [expected]


GATEWAY = {
    "an event stream": (200, request("GET", "/sse", Origin=ORIGIN)),
    "a stream's bad token": (401, request("GET", "/sse?token=nonsense")),
    "a stream's bad position": (400, request("GET", "/sse?since=nonsense")),
    "another site's page": (403, request("GET", "/sse", Origin="https://evil.example.com")),
    "a socket without an upgrade": (426, request("GET", "/ws")),
    "a socket of another version": (426, request_of(headers={"Sec-WebSocket-Version": "8"})),
    "a socket without a key": (400, request_of(headers={"Sec-WebSocket-Key": None})),
    "a socket at another path": (404, request_of("/elsewhere")),
    "an unknown upgrade": (400, request("GET", "/ws", Connection="upgrade", Upgrade="smtp")),
    "a preflight": (200, request("OPTIONS", "/sse", Origin=ORIGIN, Access_Control_Request_Method="GET")),
    "a bad preflight": (400, request("OPTIONS", "/sse", Origin=ORIGIN, Access_Control_Request_Method="PUT")),
    "another method": (405, request("PUT", "/sse")),
    "a message without a stream": (404, request("POST", "/sse")),
    "nothing there": (404, request("GET", "/nothing")),
    "the page of the dev profile": (404, request("GET", "/")),
    "no HTTP": (400, b"nonsense\r\n\r\n"),
    "a huge head": (431, request("GET", "/" + "x" * 40_000)),
}  # fmt: skip


@pytest.mark.parametrize("case", GATEWAY)
async def test_every_answer_of_a_gateway_says_how_to_treat_it(start: Start, case: str) -> None:
    status, sent = GATEWAY[case]
    async with start(allowed_origins=[ORIGIN]) as pod:
        answered, headers, _ = await answer(pod, sent)
    assert answered == status
    says(headers)


async def test_a_page_of_the_dev_profile_keeps_its_own_policy(start: Start) -> None:
    async with start(profile="dev") as pod:
        status, headers, _ = await answer(pod, request("GET", "/", Host="localhost"))
    assert status == 200
    says(headers, own_policy=True)
    assert "script-src 'self'" in dict(headers)["content-security-policy"]


EVENT = json.dumps({"audience": "all", "type": "tick", "data": None}).encode()
JSON = {"Content_Type": "application/json"}
PUBLISHER = {
    "an event": (201, "POST", "/v1/events", EVENT, JSON),
    "a batch": (200, "POST", "/v1/events:batch", b'{"events":[%b]}' % EVENT, JSON),
    "no JSON": (400, "POST", "/v1/events", b"{", JSON),
    "another type": (415, "POST", "/v1/events", EVENT, {}),
    "no event": (422, "POST", "/v1/events", b"{}", JSON),
    "a bad token": (401, "POST", "/v1/events", EVENT, JSON | {"Authorization": "Bearer nonsense"}),
    "the document": (200, "GET", "/openapi.json", b"", {}),
    "another method": (405, "GET", "/v1/events", b"", {}),
    "nothing there": (404, "GET", "/nothing", b"", {}),
    "a preflight": (200, "OPTIONS", "/v1/events", b"", {"Origin": ORIGIN, "Access_Control_Request_Method": "POST"}),
    "a huge head": (431, "GET", "/" + "x" * 40_000, b"", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", PUBLISHER)
async def test_every_answer_of_a_publisher_says_how_to_treat_it(redis_url: str, case: str) -> None:
    status, method, path, body, fields = PUBLISHER[case]
    bearer = f"Bearer {service_token('orders', ALL_SCOPES)}"
    sent = request(method, path, body, **{"Authorization": bearer, **fields})
    with serving(redis_url, allowed_origins=[ORIGIN]) as service:
        answered, headers, _ = await answer(service, sent)
    assert answered == status
    says(headers)


@asynccontextmanager
async def _ports(start: Start, redis_url: str, profile: str) -> AsyncIterator[list[Port]]:
    async with start(profile=profile) as pod:
        with serving(redis_url, profile=profile) as publisher:
            yield [pod, publisher]


@pytest.mark.parametrize("profile", ["production", "dev"])
async def test_no_path_of_the_internal_port_is_on_a_public_one(
    start: Start, redis_url: str, profile: str
) -> None:
    """Checks all routes of the internal app, other spellings, and requests with a token."""
    assert {"/metrics", "/healthz", "/readyz"} <= set(INTERNAL)
    bearer = f"Bearer {token('alice', scope=ALL_SCOPES)}"
    async with _ports(start, redis_url, profile) as ports:
        for port in ports:
            for path in INTERNAL:
                spellings = (
                    path,
                    f"{path}/",
                    f"/{path}",
                    f"/v1/..{path}",
                    f"/%{ord(path[1]):x}{path[2:]}",
                )
                for spelling in spellings:
                    for method in ("GET", "HEAD", "POST"):
                        sent = request(method, spelling, Authorization=bearer)
                        status, _, body = await answer(port, sent)
                        assert status in {404, 405}, (method, spelling, status)
                        assert b"clarion_" not in body
