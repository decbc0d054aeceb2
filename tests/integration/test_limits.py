"""Limits per pod, user and client: a client over a limit is told so, and all others go on."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from clarion_contract.events.audience import user_audience
from tests.integration.conftest import Start
from tests.integration.pod import Pod, eventually, token
from tests.integration.sockets import (
    PING,
    PONG,
    TEXT,
    EventStream,
    Raw,
    Response,
    connected,
    dialled,
    frame,
    opened,
    request_of,
    streamed,
    text,
    upgraded,
)
from tests.integration.test_bad_frames import unaffected

UNSENT = 65_536
ROUND = 128 * 1024
"""Of events that leave in one write: `clarion_gateway.delivery.rounds`."""


async def handshake(pod: Pod) -> Response:
    async with connected(pod) as raw:
        await raw.send(request_of())
        return await raw.response()


async def test_a_full_pod_turns_clients_away(start: Start) -> None:
    full = {"outcome": "at_capacity"}
    async with start(max_connections=2) as pod, unaffected(pod) as is_served:
        async with streamed(pod) as stream:
            await stream.welcomed()
            refused = await handshake(pod)
            assert refused.status == 503
            assert refused.headers["content-type"] == "application/problem+json"
            assert int(refused.headers["retry-after"]) > 0
            assert refused.detail == "at capacity, reconnect later"
            assert await pod.metric("clarion_handshakes_total", wire="websocket", **full) == 1
            async with streamed(pod) as turned_away:
                assert turned_away.response.status == 200, "else EventSource never comes back"
                error = await turned_away.receive()
                assert (error.type, error.value["code"]) == ("$error", "at_capacity")
                assert turned_away.retry is not None
                assert 1_000 <= turned_away.retry <= 10_000
                assert await turned_away.raw.rest() == b""
            assert await pod.metric("clarion_handshakes_total", wire="sse", **full) == 1
            counted = "clarion_http_requests_refused_total"
            assert await pod.metric(counted, reason="at_capacity") == 2
            await is_served()
            id_ = await pod.publish()
            while (await stream.receive()).id != str(id_):
                pass

        async def has_room() -> bool:
            return await pod.metric("clarion_connections") == 1

        await eventually(has_room, what="the stream has gone")
        assert (await handshake(pod)).status == 101, "there is room again"


async def test_a_burst_cannot_pass_the_limit_together(start: Start) -> None:
    async with start(max_connections=5) as pod, unaffected(pod):
        async with contextlib.AsyncExitStack() as stack:
            raws = [await stack.enter_async_context(connected(pod)) for _ in range(20)]
            for raw in raws:
                raw.writer.write(request_of())
            statuses = [(await raw.response()).status for raw in raws]
        assert sorted(statuses) == [101] * 4 + [503] * 16


async def test_a_user_may_have_so_many_connections(start: Start) -> None:
    alice = token("alice")
    outcome = {"outcome": "too_many_connections"}
    async with (
        start(max_connections_per_user=2) as pod,
        unaffected(pod),
        opened(pod, token=alice) as first,
        opened(pod, token=token("bob")) as bob,
        streamed(pod, f"/sse?token={alice}") as second,
    ):
        await second.welcomed()
        async with dialled(pod, token=alice) as third:
            await third.wait_closed()
            assert third.close_code == 4429
            assert third.close_reason == "too many connections of this user"
        assert await pod.metric("clarion_handshakes_total", wire="websocket", **outcome) == 1
        answer = await bob.log_in(alice)
        assert (answer["kind"], answer["code"]) == ("error", "too_many_connections")
        counted = {"code": "4429", "reason": "too_many_connections"}
        assert await pod.metric("clarion_closes_total", **counted) == 1
        await pod.publish(user_audience("alice"), "for.alice")
        assert (await first.receive("event"))["type"] == "for.alice"
        assert (await second.receive()).type == "for.alice"
        await pod.publish(user_audience("bob"), "for.bob")
        assert (await bob.receive("event"))["type"] == "for.bob", "he has stayed himself"


async def test_a_stream_too_many_of_a_user_is_told_to_come_back(start: Start) -> None:
    alice = token("alice")
    async with (
        start(max_connections_per_user=1) as pod,
        unaffected(pod),
        opened(pod, token=alice),
        streamed(pod, f"/sse?token={alice}") as stream,
    ):
        assert stream.response.status == 200, "else EventSource never comes back"
        error = await stream.receive()
        assert (error.type, error.value["code"]) == ("$error", "too_many_connections")
        assert stream.retry is not None
        assert await stream.raw.rest() == b""
        outcome = {"wire": "sse", "outcome": "too_many_connections"}
        assert await pod.metric("clarion_handshakes_total", **outcome) == 1
        counted = {"code": "4429", "reason": "too_many_connections"}
        assert await pod.metric("clarion_closes_total", **counted) == 1


async def test_too_many_messages_close(start: Start) -> None:
    message = text(kind="message", ref=1, type="nobody.handles")
    async with start(message_burst=10, messages_per_second=0.01) as pod, unaffected(pod):
        async with upgraded(pod) as raw:
            await raw.send(message * 10)
            for _ in range(10):
                assert (await raw.message())["code"] == "unknown_type"
            await raw.send(message)
            assert await raw.close_frame() == (4429, "too many messages, reconnect later")
        counted = {"code": "4429", "reason": "rate_limited"}
        await pod.counted("clarion_closes_total", **counted)
        assert await pod.metric("clarion_messages_received_total", outcome="rate_limited") == 1
        assert await pod.metric("clarion_messages_received_total", outcome="unknown_type") == 10


async def test_log_ins_count_as_messages(start: Start) -> None:
    async with start(message_burst=3, messages_per_second=0.01) as pod, unaffected(pod):
        async with upgraded(pod) as raw:
            await raw.send(text(kind="auth", ref=1, token="guess") * 4)
            assert (await raw.close_frame())[0] == 4429
        assert await pod.metric("clarion_messages_received_total", outcome="rate_limited") == 1


async def flood_until_slow(pod: Pod) -> float:
    """Publish to everybody until one client is too slow; return the most bytes that waited for it.

    The kernels take a few megabytes for a client that reads nothing; the rest waits in the pod.
    """
    most = 0.0
    async with opened(pod) as reader:
        for number in range(1_000):
            id_ = await pod.publish(data=b'"%s"' % (b"%4d" % number * 10_000))
            assert (await reader.receive("event"))["id"] == str(id_)
            most = max(most, await pod.metric("clarion_unsent_bytes"))
            if await pod.metric("clarion_slow_consumers_total"):
                return most
    raise AssertionError("nobody was slow")


async def check_slow_consumer(pod: Pod, most: float) -> None:
    assert 0 < most <= UNSENT + ROUND, "bytes that wait are bounded"
    assert await pod.metric("clarion_slow_consumers_total") == 1
    counted = {"code": "4408", "reason": "slow_consumer"}
    assert await pod.metric("clarion_closes_total", **counted) == 1
    assert await pod.metric("clarion_unsent_bytes") == 0


async def test_a_websocket_that_never_reads_is_closed(start: Start) -> None:
    async with start(max_unsent_bytes=UNSENT) as pod, unaffected(pod) as is_served:
        async with connected(pod, receive_buffer=4_096) as raw:
            await raw.send(request_of())
            assert (await raw.response()).status == 101
            most = await flood_until_slow(pod)
            await is_served()
            assert await raw.close_frame() == (4408, "slow consumer, reconnect")
        await check_slow_consumer(pod, most)


async def test_a_stream_that_never_reads_is_closed(start: Start) -> None:
    async with start(max_unsent_bytes=UNSENT) as pod, unaffected(pod) as is_served:
        async with connected(pod, receive_buffer=4_096) as raw:
            await raw.send(b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await raw.response()).status == 200
            most = await flood_until_slow(pod)
            await is_served()
            rest = await raw.rest()
            assert rest.count(b"\n\nid: ") > 1, "it got what had been written before"
        await check_slow_consumer(pod, most)


@pytest.mark.parametrize("path", ["/ws", "/sse"])
async def test_a_client_that_reads_nothing_and_ends_its_side_is_let_go_at_once(
    start: Start, path: str
) -> None:
    """A normal close would wait for the client to read, which it may never do."""
    async with start() as pod, unaffected(pod), connected(pod, receive_buffer=4_096) as raw:
        await raw.send(request_of() if path == "/ws" else b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n")
        await raw.response()
        published = 0
        while not await pod.metric("clarion_unsent_bytes"):
            await pod.publish(data=b'"%s"' % (b"x" * 100_000))
            published += 100_000
        raw.writer.write_eof()
        await pod.counted("clarion_closes_total")
        assert len(await raw.rest()) < published, "what waited was dropped"


async def test_a_client_that_never_reads_its_replies_is_closed(start: Start) -> None:
    """No client can make a pod hold answers that the client does not read."""
    limits = {"max_unsent_bytes": 16_384, "message_burst": 1_000_000, "message_max_bytes": 65_536}
    async with start(**limits) as pod, unaffected(pod), connected(pod, receive_buffer=4_096) as raw:
        await raw.send(request_of())
        assert (await raw.response()).status == 101
        flooding = asyncio.create_task(flood_with_pings(raw))
        await pod.counted("clarion_slow_consumers_total")
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        await pod.counted("clarion_closes_total", code="4408", reason="slow_consumer")
        raw.abort()


async def flood_with_pings(raw: Raw) -> None:
    while True:
        await raw.send(frame(PING, bytes(125)) * 500)


async def test_a_client_that_does_not_answer_pings_is_closed(start: Start) -> None:
    async with start(ping_interval_seconds=1) as pod, unaffected(pod), upgraded(pod) as raw:
        assert await raw.frame() == (PING, b"")
        assert await raw.frame() == (TEXT, b'{"kind":"ping"}')
        assert await raw.close_frame() == (1011, "no answer to a ping, reconnect")
        await pod.counted("clarion_closes_total", code="1011", reason="keep_alive_timeout")
        assert await pod.metric("clarion_closes_total") == 1
        assert await pod.metric("clarion_connections") == 1


async def test_clients_that_answer_pings_or_say_anything_stay(start: Start) -> None:
    async with (
        start(ping_interval_seconds=1) as pod,
        unaffected(pod),
        upgraded(pod) as answering,
        upgraded(pod) as talking,
        streamed(pod) as listening,
    ):
        for _ in range(2):
            assert await answering.frame() == (PING, b"")
            assert await answering.frame() == (TEXT, b'{"kind":"ping"}')
            await answering.send(frame(PONG))
            assert await talking.frame() == (PING, b"")
            assert await talking.frame() == (TEXT, b'{"kind":"ping"}')
            await talking.send(text(kind="message", type="nobody.handles"))
            assert (await talking.frame())[0] == TEXT
            await comment(listening)
            assert (await listening.receive_any()).type == "$ping"
        assert await pod.metric("clarion_closes_total") == 0
        assert await pod.metric("clarion_connections") == 4


async def comment(stream: EventStream) -> None:
    """Wait for the next comment of a stream."""
    async with asyncio.timeout(60):
        while await stream.raw.reader.readuntil(b"\n") != b":\n":
            pass
