"""Event streams: their format, and how they resume, are refused and end."""

from __future__ import annotations

import asyncio
import json

import pytest

from clarion_contract.events.audience import ALL, AUTHENTICATED, user_audience
from tests.integration.conftest import Start
from tests.integration.pod import Pod, eventually, token
from tests.integration.sockets import connected, opened, request_of, streamed
from tests.integration.test_bad_frames import unaffected


async def test_a_stream_begins_with_welcome_and_carries_events(pod: Pod) -> None:
    async with unaffected(pod), streamed(pod) as stream:
        assert stream.response.status == 200
        headers = stream.response.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-store, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert "content-length" not in headers
        welcome = await stream.welcomed()
        assert welcome.value == {
            "connection": welcome.value["connection"],
            "user": None,
            "pod": "pod-test",
            "resumed": None,
            "expires_in": None,
            "ping_interval": 25,
            "messages": "post",
        }
        id_ = await pod.publish(type_="order.updated", data=b'{"id":42}')
        event = await stream.receive()
        assert (event.id, event.type, event.value) == (str(id_), "order.updated", {"id": 42})
        assert int(welcome.id) < id_
        assert await pod.metric("clarion_connections", wire="sse", identity="anonymous") == 1
        assert await pod.metric("clarion_deliveries_total", wire="sse") == 1


@pytest.mark.parametrize("name", ["lastEventId", "Last-Event-ID"])
async def test_a_polyfills_position_stands_in_the_query(pod: Pod, name: str) -> None:
    """It counts before `since`, which is in the address since the page made it."""
    ids = [await pod.publish(type_=f"n.{number}") for number in range(3)]
    async with streamed(pod, f"/sse?since={ids[0]}&{name}={ids[1]}") as stream:
        assert (await stream.welcomed()).value["resumed"] is True
        assert (await stream.receive()).type == "n.2"


async def test_a_stream_may_be_asked_for_by_its_whole_address(pod: Pod) -> None:
    """Clients behind a proxy send such requests (RFC 9112, section 3.2.2)."""
    async with connected(pod) as raw:
        await raw.send(b"GET http://a/sse HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await raw.response()).status == 200


async def test_a_stream_has_the_events_of_its_identity(pod: Pod) -> None:
    async with unaffected(pod), streamed(pod, Authorization=f"Bearer {token('alice')}") as stream:
        welcome = await stream.welcomed()
        assert (welcome.value["user"], welcome.value["expires_in"]) == (
            "alice",
            pytest.approx(600, abs=60),
        )
        ids = [
            await pod.publish(user_audience("bob"), "no"),
            await pod.publish(user_audience("alice"), "a"),
            await pod.publish(AUTHENTICATED, "b"),
            await pod.publish(ALL, "no", exclude=welcome.value["connection"]),
            await pod.publish(ALL, "c"),
        ]
        received = [await stream.receive() for _ in range(3)]
        assert [event.type for event in received] == ["a", "b", "c"]
        assert [int(event.id) for event in received] == [ids[1], ids[2], ids[4]]


LINES = (
    b'{"a":\n1}',
    b'{"a":\r\n1}',
    b'{"a":\r1}',
    b'\n\n{"a":\n\n1}\n',
    b'{"a":1,\n"id": 7,\n"event": "x",\n"data": [\n]}',
    '{"a":"🚀\\n \u2028\u2029\u0085"}'.encode(),
    b'"\\n"',
    b"null",
    b' "a"',
)


async def test_line_breaks_in_data_do_not_break_the_stream(pod: Pod) -> None:
    async with unaffected(pod), streamed(pod) as stream, opened(pod) as client:
        await stream.welcomed()
        for data in LINES:
            id_ = await pod.publish(data=data)
            event = await stream.receive()
            assert (event.id, event.type) == (str(id_), "tick"), data
            assert event.value == json.loads(data)
            assert (await client.receive("event"))["data"] == json.loads(data)


async def test_a_stream_resumes_after_its_last_event(pod: Pod) -> None:
    """As a browser's EventSource does by itself, with its token and with both kinds of position."""
    path = f"/sse?token={token('alice')}"
    async with unaffected(pod):
        async with streamed(pod, path) as stream:
            await stream.welcomed()
            await pod.publish(type_="seen")
            last = (await stream.receive()).id
        missed = [
            str(await pod.publish(audience, "missed", b'"%d"' % number))
            for number, audience in enumerate((ALL, user_audience("alice"), AUTHENTICATED) * 5)
        ]
        await pod.publish(user_audience("bob"), "not.hers")
        for resumed in (
            streamed(pod, path, Last_Event_ID=last),
            streamed(pod, f"{path}&since={last}"),
        ):
            async with resumed as stream:
                welcome = await stream.welcomed()
                assert welcome.value["resumed"] is True
                assert welcome.id == last, "a client that is cut off now resumes from there again"
                assert [(await stream.receive()).id for _ in missed] == missed
                live = await pod.publish(user_audience("alice"), "live")
                assert (await stream.receive()).id == str(live)
                missed.append(str(live))
        assert await pod.metric("clarion_resumes_total", outcome="resumed") == 2


async def test_the_header_counts_before_the_query(pod: Pod) -> None:
    """The query is from the page's first request; EventSource repeats it for ever."""
    first, second, third = [str(await pod.publish()) for _ in range(3)]
    async with streamed(pod, f"/sse?since={first}", Last_Event_ID=second) as stream:
        assert (await stream.welcomed()).id == second
        assert (await stream.receive()).id == third


async def test_a_resumed_stream_leaves_out_what_its_connection_wrote(pod: Pod) -> None:
    async with unaffected(pod):
        async with streamed(pod) as stream:
            welcome = await stream.welcomed()
        connection = welcome.value["connection"]
        await pod.publish(type_="own", exclude=connection)
        other = await pod.publish(type_="other")
        path = f"/sse?connection={connection}"
        async with streamed(pod, path, Last_Event_ID=welcome.id) as stream:
            assert (await stream.welcomed()).value["resumed"] is True
            assert (await stream.receive()).id == str(other)


async def test_a_refusal_is_a_status_and_a_problem_document(start: Start) -> None:
    async with start(allow_anonymous=False) as pod:
        for status, stream in (
            (401, streamed(pod)),
            (401, streamed(pod, Authorization="Bearer nonsense")),
            (401, streamed(pod, "/sse?token=nonsense")),
            (400, streamed(pod, "/sse?since=abc", Authorization=f"Bearer {token('alice')}")),
        ):
            async with stream as refused:
                assert refused.response.status == status
                assert refused.response.headers["content-type"] == "application/problem+json"
                assert json.loads(refused.response.body)["status"] == status
                assert ("www-authenticate" in refused.response.headers) == (status == 401)
                assert await refused.raw.rest() == b""
        unauthenticated = {"wire": "sse", "outcome": "unauthenticated"}
        assert await pod.metric("clarion_handshakes_total", **unauthenticated) == 3
        assert await pod.metric("clarion_handshakes_total", wire="sse", outcome="accepted") == 0


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_client_that_goes_is_forgotten(pod: Pod, how: str) -> None:
    async with unaffected(pod), streamed(pod) as stream:
        await stream.welcomed()
        if how == "fin":
            stream.raw.writer.write_eof()
        else:
            stream.raw.abort()
        await pod.counted("clarion_closes_total", code="1000", reason="normal")

        async def is_forgotten() -> bool:
            return await pod.metric("clarion_connections", wire="sse") == 0

        await eventually(is_forgotten)


@pytest.mark.parametrize("path", ["/sse", "/sse?since=0", "/ws"])
async def test_a_client_that_stops_reading_is_given_up(start: Start, path: str) -> None:
    """Even if less waits for it than for a slow consumer, and while it catches up."""
    async with start(ping_interval_seconds=1) as pod:
        for _ in range(8):
            await pod.publish(data=b'"%b"' % (b"x" * 60_000))
        async with connected(pod, receive_buffer=4_096) as raw:
            raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await raw.send(
                request_of(path)
                if path == "/ws"
                else b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode()
            )
            await pod.counted("clarion_sockets", 1)
            await pod.counted("clarion_handshakes_total", 1, outcome="accepted")
            for _ in range(12):  # less than GATEWAY_MAX_UNSENT_BYTES
                await pod.publish(data=b'"%b"' % (b"x" * 60_000))
            await pod.counted("clarion_closes_total", 1, reason="keep_alive_timeout")

            async def is_gone() -> bool:
                return await pod.metric("clarion_sockets") == 0

            await eventually(is_gone, what="the socket is closed")
        assert await pod.metric("clarion_slow_consumers_total") == 0


async def test_a_client_that_sends_on_and_on_is_ended(pod: Pod) -> None:
    async with unaffected(pod), streamed(pod) as stream:
        await stream.welcomed()
        for _ in range(100):
            await stream.raw.send(b"x" * 1_000)
        error = await stream.receive()
        assert error.type == "$error"
        assert error.value["code"] == "protocol_error"
        await pod.counted("clarion_closes_total", reason="protocol_error")


async def test_what_a_client_sends_on_is_not_looked_at(pod: Pod) -> None:
    """A body, a second request, nonsense: none of it is processed."""
    for more in (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", b"nonsense\x00\xff" * 1_000):
        async with unaffected(pod), streamed(pod) as stream:
            await stream.welcomed()
            await stream.raw.send(more)
            id_ = await pod.publish()
            assert (await stream.receive()).id == str(id_)
    body = b"GET /sse HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    async with unaffected(pod), connected(pod) as raw:
        await raw.send(body)
        assert (await raw.response()).status == 200
        async with asyncio.timeout(60):
            await raw.reader.readuntil(b"event: $welcome\n")
