"""Requests that never become connections: each has a status, a problem document and a count."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from clarion_contract.events.audience import user_audience
from tests.integration.conftest import Start
from tests.integration.pod import Pod, eventually, token
from tests.integration.sockets import EventStream, Raw, Response, connected, request_of
from tests.integration.test_bad_frames import unaffected


async def answer_to(pod: Pod, request: bytes) -> Response:
    """The response to a request, which must be a problem document with the response's status."""
    async with connected(pod) as raw:
        await raw.send(request)
        return await problem(raw)


async def problem(raw: Raw) -> Response:
    response = await raw.response()
    assert response.headers["content-type"] == "application/problem+json", response
    assert json.loads(response.body)["status"] == response.status
    assert response.detail
    return response


async def refused(pod: Pod, reason: str) -> float:
    return await pod.metric("clarion_http_requests_refused_total", reason=reason)


def plain(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def trickle(raw: Raw, data: bytes) -> None:
    """Send byte by byte, slowly, as in a slow loris attack."""
    for byte in data:
        await raw.send(bytes([byte]))
        await asyncio.sleep(0.02)


async def test_a_handshake_byte_by_byte_is_cut_off(start: Start) -> None:
    async with start(handshake_seconds=0.5) as pod, unaffected(pod), connected(pod) as raw:
        trickling = asyncio.create_task(trickle(raw, request_of()))
        response = await problem(raw)
        assert response.status == 408
        assert response.detail == "expected the request within 0.5 seconds"
        assert await raw.rest() == b""
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
        assert await refused(pod, "head_too_slow") == 1


async def test_a_client_that_says_nothing_is_cut_off(start: Start) -> None:
    async with start(handshake_seconds=0.2) as pod, unaffected(pod), connected(pod) as raw:
        assert (await problem(raw)).status == 408
        assert await raw.rest() == b""
        assert await refused(pod, "head_too_slow") == 1


UNREADABLE = (
    b"GET http://evil HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /ws HTTP/1.1\r\n\r\n",
    b"GET /sse HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    request_of(headers={"Host": None}),
    request_of("http://evil"),
)


async def test_a_head_that_cannot_be_read_is_answered(pod: Pod) -> None:
    async with unaffected(pod):
        for count, request in enumerate(UNREADABLE, 1):
            async with connected(pod) as raw:
                await raw.send(request)
                response = await problem(raw)
                assert response.status == 400, request
                assert response.detail.startswith("expected "), response
                assert await raw.rest() == b""
            assert await refused(pod, "malformed_request") == count, request


async def test_no_client_that_stops_is_kept(start: Start) -> None:
    stalls = (b"", b"\r\n", b"\n", b"GET / HT", request_of()[:-2], plain("GET", "/x") + b"GET")
    async with start(handshake_seconds=0.3) as pod, unaffected(pod):
        async with contextlib.AsyncExitStack() as stack:
            raws = [await stack.enter_async_context(connected(pod)) for _ in stalls]
            for raw, stall in zip(raws, stalls, strict=True):
                await raw.send(stall)
            for raw, stall in zip(raws, stalls, strict=True):
                assert (await problem(raw)).status in {404, 408}, stall
                assert await raw.rest() == b""
        await pod_has_sockets(pod, 1)


async def pod_has_sockets(pod: Pod, count: int) -> None:
    async def has() -> bool:
        return await pod.metric("clarion_sockets") == count

    await eventually(has, what=f"{count} sockets")


async def test_every_socket_counts_until_it_is_gone(pod: Pod) -> None:
    """Whether it has become a request, a WebSocket, a stream or a refusal."""
    async with contextlib.AsyncExitStack() as stack:
        for request in (b"", request_of(), plain("GET", "/sse"), b"GET "):
            raw = await stack.enter_async_context(connected(pod))
            await raw.send(request)
        await pod_has_sockets(pod, 4)
    await pod_has_sockets(pod, 0)


async def test_one_socket_too_many_is_turned_away(start: Start) -> None:
    async with start() as pod, unaffected(pod), contextlib.AsyncExitStack() as stack:
        await pod_has_sockets(pod, 1)
        pod.gateway.sessions.port.max_sockets = 3
        for _ in range(2):
            await stack.enter_async_context(connected(pod))
        await pod_has_sockets(pod, 3)
        async with connected(pod) as raw:
            response = await problem(raw)
            assert response.status == 503
            assert response.headers["retry-after"] == "1"
            assert await raw.rest() == b""
        assert await refused(pod, "too_many_sockets") == 1
        pod.gateway.sessions.port.max_sockets = 100


async def test_a_plain_answer_ends_the_connection(pod: Pod) -> None:
    """So no further request on it needs limits; a pipelined one is not served."""
    async with unaffected(pod), connected(pod) as raw:
        await raw.send(plain("GET", "/nothing") + plain("GET", "/sse"))
        response = await problem(raw)
        assert response.status == 404
        assert await raw.rest() == b""


async def test_a_handshake_in_many_pieces_is_let_in(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:
        for byte in request_of():
            await raw.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await raw.response()).status == 101
        assert (await raw.message())["kind"] == "welcome"


async def test_a_huge_head_is_refused(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:
        await raw.send(request_of(headers={"Cookie": "c" * 40_000})[:-4])
        response = await problem(raw)
        assert response.status == 431
        assert response.detail == "expected a request head of at most 32768 bytes"
        assert await raw.rest() == b""
        assert await refused(pod, "head_too_large") == 1


async def test_a_head_without_end_is_refused(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:

        async def go_on() -> None:
            await raw.send(b"GET /ws HTTP/1.1\r\n")
            while True:
                await raw.send(b"X-Filler: %b\r\n" % (b"x" * 100))
                await asyncio.sleep(0)

        endless = asyncio.create_task(go_on())
        assert (await problem(raw)).status == 431
        endless.cancel()
        await asyncio.gather(endless, return_exceptions=True)
        assert await refused(pod, "head_too_large") == 1


async def test_a_huge_head_in_one_piece_is_let_through_or_refused(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:
        await raw.send(request_of(headers={"Cookie": "c" * 40_000}))
        assert (await raw.response()).status in {101, 431}


async def test_a_streams_huge_head_in_one_piece_is_let_through_or_refused(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:
        await raw.send(plain("GET", "/sse?x=" + "x" * 40_000))
        response = await raw.response()
        assert response.status in {200, 431}, response


async def test_other_methods_are_not_allowed(pod: Pod) -> None:
    async with unaffected(pod):
        for path in ("/ws", "/sse"):
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                if (method, path) == ("POST", "/sse"):  # messages: see test_posts
                    continue
                response = await answer_to(pod, plain(method, path, b"{}"))
                assert response.status == 405, (method, path)
                assert "GET" in response.headers["allow"]
        upgrade = request_of().replace(b"GET", b"POST", 1)
        response = await answer_to(pod, upgrade)
        assert response.status == 405
        assert response.headers["allow"] == "GET"
        assert await refused(pod, "method") == 1
        assert await pod.metric("clarion_closes_total") == 0


async def test_ws_without_an_upgrade_expects_one(pod: Pod) -> None:
    async with unaffected(pod):
        response = await answer_to(pod, plain("GET", "/ws"))
        assert response.status == 426
        assert response.headers["upgrade"] == "websocket"
        assert response.detail == "expected an upgrade to websocket"


async def test_an_unknown_path_is_not_found(pod: Pod) -> None:
    async with unaffected(pod):
        for path in ("/", "/nothing", "/SSE", "/ws/alice", "/metrics", "/healthz", "/docs"):
            assert (await answer_to(pod, plain("GET", path))).status == 404, path
        assert await refused(pod, "not_found") == 0, "counted for upgrades only"
        for count, path in enumerate(("/", "/ws/", "/ws/alice"), 1):
            response = await answer_to(pod, request_of(path))
            assert response.status == 404, path
            assert response.detail == "expected /ws or /socket.io"
            assert await refused(pod, "not_found") == count


async def test_a_websocket_at_the_streams_path_is_not_found(pod: Pod) -> None:
    async with unaffected(pod):
        response = await answer_to(pod, request_of("/sse"))
        assert response.status == 404
        assert await refused(pod, "not_found") == 1


async def test_a_slash_too_many_is_not_found(pod: Pod) -> None:
    """It is never a redirect to the Host header's server."""
    for path in ("/ws/", "/sse/"):
        async with connected(pod) as raw:
            await raw.send(plain("GET", path))
            response = await raw.response()
            assert response.status == 404, response


async def test_an_upgrade_to_something_else_is_refused(pod: Pod) -> None:
    async with unaffected(pod):
        response = await answer_to(pod, request_of(headers={"Upgrade": "mqtt"}))
        assert response.status == 400
        assert response.detail == "expected an upgrade to websocket"
        assert await refused(pod, "unknown_upgrade") == 1


async def test_what_is_not_http_is_refused(pod: Pod) -> None:
    nonsense = (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),  # TLS
        b"\x00\x01\x02\x03\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"GET /ws HTTP/1.1\r\nno header\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    )
    async with unaffected(pod) as is_served:
        for count, request in enumerate(nonsense, 1):
            response = await answer_to(pod, request)
            assert response.status == 400, request
            assert response.detail == "expected an HTTP/1.1 request"
            assert await refused(pod, "malformed_request") == count, request
            await is_served()


TWICE = {
    "Origin": b"http://a\r\nOrigin: http://b",
    "Authorization": b"Bearer a\r\nAuthorization: Bearer b",
    "Last-Event-ID": b"1\r\nLast-Event-ID: 2",
}


@pytest.mark.parametrize("name", TWICE)
async def test_a_header_twice_is_no_choice(start: Start, name: str) -> None:
    """A proxy in front may have read the other one."""
    header = name.encode() + b": " + TWICE[name] + b"\r\n\r\n"
    async with start(allowed_origins=["*"]) as pod, unaffected(pod):
        for count, request in enumerate((request_of(), plain("GET", "/sse")), 1):
            response = await answer_to(pod, request[:-2] + header)
            assert response.status == 400
            assert response.detail == f"expected one {name.title()} header, got 2"
            assert await refused(pod, "malformed_request") == count


SPREAD = {
    "two Connection lines": b"Connection: Upgrade\r\nConnection: keep-alive\r\nUpgrade: websocket",
    "the other way round": b"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket",
    "a list": b"Connection: keep-alive,\tUPGRADE ,\r\nUpgrade: h2c, WebSocket",
    "two Upgrade lines": b"Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket",
    "white space": b"Connection: \tUpgrade \t\r\nUpgrade:websocket\t ",
}


@pytest.mark.parametrize("how", SPREAD)
async def test_a_handshake_may_be_written_as_rfc_9110_allows(pod: Pod, how: str) -> None:
    request = b"\r\n".join(
        [
            b"GET /ws HTTP/1.1",
            b"Host: 127.0.0.1:%d \t" % pod.port,
            SPREAD[how],
            b"Origin: http://127.0.0.1:%d\t" % pod.port,
            b"Sec-WebSocket-Key:dGhlIHNhbXBsZSBub25jZQ== \t",
            b"Sec-WebSocket-Version: 13\t",
            b"Sec-WebSocket-Protocol: other,\tclarion.v1 ",
            b"Authorization:\tBearer " + token("alice").encode() + b" \t",
            b"",
            b"",
        ]
    )
    async with connected(pod) as raw:
        await raw.send(request)
        response = await raw.response()
        assert response.status == 101, response
        assert response.headers["sec-websocket-protocol"] == "clarion.v1"
        assert (await raw.message())["user"] == "alice"


async def test_http_1_0_knows_no_upgrade(pod: Pod) -> None:
    async with unaffected(pod):
        response = await answer_to(pod, request_of().replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert response.status == 400
        assert response.detail == "expected HTTP/1.1 with an upgrade"


async def test_a_handshake_has_no_body(pod: Pod) -> None:
    async with unaffected(pod):
        for header in ({"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}):
            response = await answer_to(pod, request_of(headers=dict(header)) + b"hello")
            assert response.status == 400
            assert response.detail == "expected a handshake without a body"
    async with connected(pod) as raw:
        await raw.send(request_of(headers={"Content-Length": "0"}))
        assert (await raw.response()).status == 101


async def test_upgrades_in_one_packet_are_one(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:
        ask = request_of(headers={"Upgrade": "mqtt"})
        await raw.send(ask * 100)
        assert (await problem(raw)).status == 400
        assert await raw.rest() == b""


BAD_HANDSHAKES: dict[str, dict[str, str | None]] = {
    "no key": {"Sec-WebSocket-Key": None},
    "short key": {"Sec-WebSocket-Key": "c2hvcnQ="},
    "key is no base64": {"Sec-WebSocket-Key": "!" * 24},
    "no version": {"Sec-WebSocket-Version": None},
    "another subprotocol": {"Sec-WebSocket-Protocol": "graphql-ws, mqtt"},
    "a token only": {"Sec-WebSocket-Protocol": "clarion.bearer.token"},
}


async def test_a_handshake_that_is_none_is_refused(pod: Pod) -> None:
    async with unaffected(pod) as is_served:
        for count, (name, headers) in enumerate(BAD_HANDSHAKES.items(), 1):
            response = await answer_to(pod, request_of(headers=headers))
            assert response.status == 400, name
            outcome = {"wire": "websocket", "outcome": "malformed"}
            assert await pod.metric("clarion_handshakes_total", **outcome) == count, name
            await is_served()


@pytest.mark.parametrize("version", ["8", "14", "013", "13, 8", "latest"])
async def test_another_version_of_websocket_is_told_the_one_that_there_is(
    pod: Pod, version: str
) -> None:
    """The answer names the supported version (RFC 6455, section 4.4)."""
    response = await answer_to(pod, request_of(headers={"Sec-WebSocket-Version": version}))
    assert response.status == 426
    assert response.headers["sec-websocket-version"] == "13"
    assert response.headers["upgrade"] == "websocket"
    outcome = {"wire": "websocket", "outcome": "malformed"}
    assert await pod.metric("clarion_handshakes_total", **outcome) == 1


async def test_clients_that_leave_before_they_say_what_they_want_leave_nothing(pod: Pod) -> None:
    async with unaffected(pod) as is_served:
        for part in (b"", b"GET /ws HTT", request_of()[:-2]):
            async with connected(pod) as raw:
                await raw.send(part)
                raw.abort()
            await is_served()
        assert await pod.metric("clarion_closes_total") == 0
        assert await pod.metric("clarion_connections") == 1


async def test_a_hundred_clients_that_leave_at_once_leave_nothing(pod: Pod) -> None:
    """They ask for a connection, and reset TCP before they can have read the answer."""
    async with unaffected(pod) as is_served:
        async with contextlib.AsyncExitStack() as stack:
            raws = [await stack.enter_async_context(connected(pod)) for _ in range(100)]
            for raw in raws:
                raw.writer.write(request_of())
            for raw in raws:
                raw.abort()
        await is_served()

        async def only_the_bystander() -> bool:
            return await pod.metric("clarion_connections") == 1

        await eventually(only_the_bystander, what="they are forgotten")


async def test_a_request_behind_a_plain_one_is_not_looked_at(pod: Pod) -> None:
    """Even if it asks for a WebSocket: the socket belongs to the first request's answer."""
    for behind in (
        request_of(),
        plain("GET", "/sse"),
        plain("GET", "/"),
        request_of("http://[/ws"),
    ):
        async with unaffected(pod), connected(pod) as raw:
            await raw.send(plain("GET", "/nothing") + behind)
            assert (await problem(raw)).status == 404
            assert await raw.rest() == b""
    assert await pod.metric("clarion_handshakes_total", outcome="accepted") == 4, "the bystanders'"


async def test_a_request_behind_a_streams_does_not_take_its_place(pod: Pod) -> None:
    """The stream belongs to the user whose token asked for it, not to the next request's."""
    first = plain("GET", f"/sse?token={token('alice')}")
    for behind in (plain("GET", f"/sse?token={token('bob')}"), request_of(), plain("GET", "//[")):
        async with unaffected(pod), connected(pod) as raw:
            await raw.send(first + behind)
            stream = EventStream(raw, await raw.response())
            assert (await stream.welcomed()).value["user"] == "alice"
            id_ = await pod.publish(user_audience("alice"))
            assert (await stream.receive()).id == str(id_)
