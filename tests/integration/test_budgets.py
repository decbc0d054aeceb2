"""What all clients of a pod may make it hold together: those that hold the most are closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from clarion_contract.events.audience import ALL, user_audience
from tests.integration.conftest import Start
from tests.integration.pod import Pod, eventually, token
from tests.integration.sockets import TEXT, Raw, connected, frame, request_of, text, upgraded
from tests.integration.test_bad_frames import unaffected

MIB = 1 << 20
LARGE = b'"%b"' % (b"x" * 60_000)


@contextlib.asynccontextmanager
async def deaf(pod: Pod, path: str = "/ws", user: str | None = None) -> AsyncIterator[Raw]:
    """A WebSocket that has been opened and reads no more."""
    authorization = None if user is None else f"Bearer {token(user)}"
    async with connected(pod, receive_buffer=4_096) as raw:
        await raw.send(request_of(path, headers={"Authorization": authorization}))
        assert (await raw.response()).status == 101
        yield raw


async def history(pod: Pod) -> int:
    """Publish about as much to everybody as one client is replayed; returns the first event's id."""
    first = await pod.publish(data=LARGE)
    for _ in range(129):
        await pod.publish(data=LARGE)
    return first


async def test_unfinished_messages_of_all_clients_together_are_bounded(start: Start) -> None:
    async with start(inbound_max_bytes=MIB) as pod, unaffected(pod) as is_served:
        async with contextlib.AsyncExitStack() as stack:
            small = await stack.enter_async_context(upgraded(pod))
            await small.send(frame(TEXT, b'{"kind":"message",', fin=False))
            large = [await stack.enter_async_context(upgraded(pod)) for _ in range(25)]
            for raw in large:
                await raw.send(frame(TEXT, b"a" * 60_000, fin=False))
            counted = {"code": "1013", "reason": "inbound_full"}
            await pod.counted("clarion_closes_total", **counted)
            await is_served()
            closed = await pod.metric("clarion_closes_total", **counted)
            assert 25 * 60_000 - MIB < closed * 60_000 < 12 * 60_000, "no more than are needed"
            assert 0 < await pod.metric("clarion_inbound_bytes") <= MIB
            await small.send(frame(0, b'"type":"x","ref":1}'))
            while (message := await small.message())["kind"] == "event":
                pass
            assert message["code"] == "unknown_type", "it was spared"

        async def is_given_back() -> bool:
            return await pod.metric("clarion_inbound_bytes") == 0

        await eventually(is_given_back, what="nothing is held for those that are gone")


async def test_a_client_that_is_closed_for_the_pods_memory_is_told_to_come_back(
    start: Start,
) -> None:
    async with (
        start(inbound_max_bytes=MIB, message_max_bytes=2 * MIB) as pod,
        unaffected(pod),
        upgraded(pod) as raw,
    ):
        await raw.send(frame(TEXT, bytes(MIB + 1), fin=False))
        told = await raw.close_frame()
        assert told == (1013, "too many messages are under way, reconnect later")


async def test_what_waits_for_all_slow_clients_together_is_bounded(start: Start) -> None:
    """Each of them leaves less than one client may."""
    async with start(outbound_max_bytes=2 * MIB) as pod, unaffected(pod) as is_served:
        async with contextlib.AsyncExitStack() as stack:
            users = [f"slow-{number}" for number in range(8)]
            for user in users:
                await stack.enter_async_context(deaf(pod, user=user))
            while not await pod.metric("clarion_closes_total", reason="outbound_full"):
                for user in users:
                    await pod.publish(user_audience(user), data=LARGE)
                assert await pod.metric("clarion_outbound_bytes") <= 2 * MIB
            await is_served()
            assert await pod.metric("clarion_slow_consumers_total") == 0
            assert await pod.metric("clarion_closes_total", code="4408") < len(users)

        async def is_given_back() -> bool:
            return await pod.metric("clarion_outbound_bytes") == 0

        await eventually(is_given_back, what="nothing is held for those that are gone")


async def test_events_that_many_slow_clients_wait_for_take_memory_once(start: Start) -> None:
    """A burst of large events to everybody closes nobody who leaves no more than a client may."""
    async with start(outbound_max_bytes=2 * MIB) as pod, contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(deaf(pod))
        while await pod.metric("clarion_unsent_bytes") < 8 * MIB:
            await pod.publish(ALL, data=LARGE)
            assert await pod.metric("clarion_closes_total") == 0
        assert 0 < await pod.metric("clarion_outbound_bytes") <= 2 * MIB
        assert await pod.metric("clarion_closes_total") == 0


@pytest.mark.parametrize("path", ["/ws", "/sse"])
async def test_a_client_that_does_not_take_its_replay_costs_little(start: Start, path: str) -> None:
    """Back-pressure begins after one write, not at what a live client may leave."""
    async with start() as pod:
        first = await history(pod)
        async with unaffected(pod), connected(pod, receive_buffer=4_096) as raw:
            query = f"{path}?since={first - 1}"
            await raw.send(
                request_of(query)
                if path == "/ws"
                else b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % query.encode()
            )
            await raw.response()
            await pod.counted("clarion_unsent_bytes")
            assert await pod.metric("clarion_unsent_bytes") < 4 * len(LARGE)


async def test_nothing_is_read_from_a_client_that_catches_up(start: Start) -> None:
    """What it says is handled once it has."""
    async with start(message_burst=1_000) as pod:
        first = await history(pod)
        handled = {"outcome": "unknown_type"}
        async with deaf(pod, f"/ws?since={first - 1}") as raw:
            await pod.counted("clarion_unsent_bytes")
            message = text(kind="message", type="x", data="a" * 60_000, ref=1)
            sending = asyncio.create_task(raw.send(message * 200))
            (client,) = pod.gateway.sessions.outbound.catching_up

            async def is_not_read() -> bool:
                return not client.socket.is_reading

            await eventually(is_not_read, what="the pod does not read from the client")
            assert await pod.metric("clarion_inbound_bytes") < 10 * len(message), "one read"
            assert await pod.metric("clarion_messages_received_total", **handled) == 0
            kinds = []
            while kinds.count("error") < 200:
                kinds.append((await raw.message())["kind"])
            await sending
            assert kinds == ["welcome"] + ["event"] * 130 + ["error"] * 200
