"""Socket.IO over long polling: requests and their answers, bounds, and input that is none.

`tests/clients/socketio` has the clients that users have.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from clarion_contract.events.audience import ALL, Audience
from clarion_gateway.connections import close_codes
from clarion_gateway.transports.socketio.polling import Polling
from tests.integration.conftest import Start
from tests.integration.pod import SECONDS, Pod, eventually, token
from tests.integration.poller import PATH, Poller, browser, hanging, keyed, polling
from tests.integration.test_socketio import HANDLERS

SLOW = """
import asyncio

gate = asyncio.Event()

@handlers.on("slow")
async def slow(data, context):
    await gate.wait()
    return data
"""


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "polling_handlers.py").write_text(HANDLERS + SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    return "polling_handlers:handlers"


@pytest.fixture
async def pod(start: Start, mounted: str) -> AsyncIterator[Pod]:
    async with start(handlers=mounted) as pod:
        await keyed(pod)
        yield pod


async def unknown(poller: Poller) -> None:
    answer = await poller.get()
    assert (answer.status_code, answer.json()["code"]) == (400, 1)


# Sessions


async def test_a_session_opens_with_the_packet_of_the_protocol(pod: Pod) -> None:
    async with polling(pod) as first, polling(pod) as second:
        assert list(first.handshake) == [
            "sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"
        ]  # fmt: skip
        assert first.handshake["upgrades"] == ["websocket"]
        assert first.handshake["maxPayload"] == pod.settings.message_max_bytes
        assert first.sid != second.sid
        assert await first.log_in() not in first.sid, "the session's id is a secret"
        assert await pod.metric("clarion_socketio_sessions", transport="polling") == 2
    await pod.counted("clarion_handshakes_total", wire="socketio", outcome="accepted")


async def test_an_answer_has_the_headers_of_the_protocol(pod: Pod) -> None:
    async with browser() as client:
        answer = await client.get(pod.url(PATH))
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    assert answer.headers["cache-control"] == "no-store"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["connection"] == "keep-alive"


async def test_one_tcp_connection_carries_many_requests(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in("alice")
        for number in range(10):
            await poller.say(f'42{number}["echo",{number}]')
            assert await poller.receive() == f'43{number}[[{number},"alice"]]'
        assert pod.gateway.sessions.port.open == 1


async def test_a_poll_hangs_until_something_is_sent(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in("alice")
        poll = await hanging(pod, poller)
        await pod.publish(Audience("user", "alice"), "mail", b'"for you"')
        assert (await poll).text == '42["mail","for you"]'


async def test_what_waits_leaves_in_one_body_and_in_order(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in()
        for number in range(50):
            await pod.publish(ALL, "tick", b"%d" % number)

        async def all_wait() -> bool:
            connection = next(iter(pod.gateway.sessions._hub.connections))
            return connection.socket.unsent_bytes >= 50 * len('42["tick",0]')

        await eventually(all_wait)
        packets = (await poller.get()).text.split("\x1e")
        assert packets == [f'42["tick",{number}]' for number in range(50)]
        assert pod.gateway.sessions.outbound.waiting.used_bytes == 0


async def test_one_post_brings_several_packets_even_behind_a_connect(pod: Pod) -> None:
    async with polling(pod) as poller:
        connect_packet = "40" + json.dumps({"token": token("alice")})
        await poller.say(connect_packet, '421["echo",1]', '422["echo",2]')
        assert (await poller.receive()).startswith("40{")
        assert await poller.receive() == '431[[1,"alice"]]'
        assert await poller.receive() == '432[[2,"alice"]]'


async def test_binary_messages_are_base64(pod: Pod) -> None:
    sent = b"\x00\xff4"
    async with polling(pod) as poller:
        await poller.log_in()
        attachment = "b" + base64.b64encode(sent).decode()
        await poller.say('451-9["echo",{"_placeholder":true,"num":0}]', attachment)
        (reply,) = json.loads((await poller.receive()).removeprefix("439"))
        assert base64.b64decode(reply[0]) == sent


async def test_a_client_that_leaves_is_answered_and_forgotten(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in()
        poll = await hanging(pod, poller)
        await poller.say("1")
        assert (await poll).text == "6"
        await unknown(poller)
        assert not pod.gateway.sessions.polled
        await pod.counted("clarion_closes_total", reason="normal")


async def test_a_refused_connect_waits_for_the_next_poll_and_the_session_goes_on(pod: Pod) -> None:
    """Else a client with a bad token would come back again and again."""
    async with polling(pod) as poller:
        await poller.say('40{"token":"none"}')
        assert (await poller.receive()).startswith('44{"message":')
        await poller.log_in("alice")


async def test_the_poll_that_hangs_is_told_of_a_close(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in("alice")
        poll = await hanging(pod, poller)
        pod.gateway.sessions._hub.of_user("alice")[0].close(close_codes.EXPIRED)
        assert (await poll).text == "1"
        await unknown(poller)


async def test_the_next_poll_is_told_of_a_close(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in("alice")
        await pod.publish(Audience("user", "alice"), "mail", b"1")

        async def waits() -> bool:
            return bool(pod.gateway.sessions._hub.of_user("alice")[0].socket.unsent_bytes)

        await eventually(waits)
        barred = close_codes.disconnected("enough", reconnect=False)
        pod.gateway.sessions._hub.of_user("alice")[0].close(barred)
        assert (await poller.get()).text.split("\x1e") == ['42["mail",1]', "41"]
        assert (await poller.get()).text == "1"
        await unknown(poller)


async def test_a_poll_that_breaks_ends_the_session_at_once(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in("alice")
        poll = await hanging(pod, poller)
        poll.cancel()
        await pod.counted("clarion_closes_total", reason="abnormal")
        await unknown(poller)


async def test_pings_come_as_answers_and_a_silent_client_is_closed(start: Start) -> None:
    times = {"socketio_ping_interval_seconds": 0.3, "socketio_ping_timeout_seconds": 2}
    async with start(**times) as pod, polling(pod) as poller:
        await poller.say("40")
        assert (await poller.get()).text.startswith("40{")
        for _ in range(3):
            assert (await poller.get()).text == "2"
            await poller.say("3")
        assert (await poller.get()).text == "2"
        await pod.counted("clarion_closes_total", reason="keep_alive_timeout")
        await unknown(poller)


async def half_request(pod: Pod) -> None:
    """Send half a request; returns when the pod has ended it, after the time that one may take."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.port)
    writer.write(b"GET /")
    async with asyncio.timeout(SECONDS):
        assert b"408" in await reader.readline()
    writer.close()


async def test_a_poll_may_hang_longer_than_a_request_may_take(start: Start) -> None:
    async with start(handshake_seconds=1) as pod, polling(pod) as poller:
        await poller.log_in("alice")
        poll = await hanging(pod, poller)
        for _ in range(2):
            await half_request(pod)
        assert not poll.done()
        await pod.publish(Audience("user", "alice"), "mail", b"1")
        assert (await poll).text == '42["mail",1]'


async def test_a_session_without_a_connect_ends(start: Start) -> None:
    async with start(handshake_seconds=0.5) as pod, polling(pod) as poller:
        assert pod.gateway.sessions.unconnected == 1
        assert (await poller.get()).text == "1"
        assert pod.gateway.sessions.unconnected == 0
        await pod.counted("clarion_closes_total", reason="no_connect")


# Requests that are refused


@pytest.mark.parametrize(
    ("method", "query", "code"),
    [
        ("GET", "EIO=4", 0),
        ("GET", "EIO=4&transport=telepathy", 0),
        ("GET", "EIO=4&transport=polling&sid=forged", 1),
        ("POST", "EIO=4&transport=polling&sid=forged", 1),
        ("POST", "EIO=4&transport=polling", 2),
        ("PUT", "EIO=4&transport=polling", 2),
        ("DELETE", "EIO=4&transport=polling&sid=forged", 3),
        ("GET", "EIO=4&transport=websocket", 3),
        ("GET", "EIO=3&transport=polling", 5),
        ("GET", "transport=polling", 5),
    ],
)
async def test_bad_requests_get_the_code_of_the_protocol(
    pod: Pod, method: str, query: str, code: int
) -> None:
    async with browser() as client:
        answer = await client.request(method, pod.url(f"/socket.io/?{query}"))
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == code
    await pod.counted("clarion_socketio_requests_refused_total")
    assert not pod.gateway.sessions.polled


async def test_two_polls_at_once_end_the_session(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in()
        poll = await hanging(pod, poller)
        assert (await poller.get()).status_code == 400
        assert (await poll).text == "1"
        await unknown(poller)


async def test_two_posts_at_once_end_the_session(pod: Pod) -> None:
    async with polling(pod) as poller, browser() as other:
        await poller.log_in()
        never_ends = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"3"
            await never_ends.wait()

        first = asyncio.create_task(other.post(poller.url, content=body()))

        async def is_posting() -> bool:
            return bool(pod.gateway.sessions.polled[poller.sid]._exchanges.is_posting)  # type: ignore[attr-defined]

        await eventually(is_posting)
        assert (await poller.post("3")).status_code == 400
        await unknown(poller)
        first.cancel()


@pytest.mark.parametrize(
    "body",
    [
        "", "9", "hello", "2", "5", "0{}", "3\x1e\x1e3", "\x1e" * 10_000, "b%%%", "bAAA",
        "4", "49", '42["connect"]', "40\x1e40",
    ],
)  # fmt: skip
async def test_a_body_that_is_none_ends_the_session(pod: Pod, body: str) -> None:
    async with polling(pod) as poller:
        await poller.log_in()
        assert (await poller.post(body)).status_code == 400
        await unknown(poller)
        assert await pod.metric("clarion_messages_received_total", outcome="malformed") == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("\x1e" * 999_999, "malformed"),
        ("3\x1e" * 499_999 + "3", "rate_limited"),
        ("40/x\x1e" * 199_999 + "40/x", "rate_limited"),
    ],
    ids=["empty packets", "pongs", "namespaces"],
)
async def test_a_payload_of_packets_by_the_hundred_thousand_costs_nobody_else(
    start: Start, mounted: str, body: str, reason: str
) -> None:
    async with start(handlers=mounted, message_max_bytes=4 << 20) as pod:
        async with polling(pod) as honest, polling(pod) as poller:
            await honest.log_in("alice")
            await poller.log_in()
            assert (await poller.post(body)).status_code == 400
            await honest.say('421["echo",1]')
            assert await honest.receive() == '431[[1,"alice"]]'
        await pod.counted("clarion_closes_total", reason=reason)
        assert pod.gateway.sessions.inbound.used_bytes == 0


async def test_attachments_that_never_come_are_given_back(pod: Pod) -> None:
    inbound = pod.gateway.sessions.inbound
    async with polling(pod) as poller:
        await poller.log_in()
        packet = '452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
        await poller.say(packet, "b" + base64.b64encode(bytes(5_000)).decode())
        assert (await poller.post('42["echo",1]')).status_code == 400, (
            "expected a second attachment"
        )
        await unknown(poller)
        assert inbound.used_bytes == 0


async def test_text_that_is_no_utf8_ends_the_session(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in()
        answer = await poller.client.post(poller.url, content=b'42["echo","\xff"]')
        assert answer.status_code == 400
        await pod.counted("clarion_closes_total", reason="invalid_text")


async def test_a_body_of_the_earlier_protocol_ends_the_session(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in()
        headers = {"content-type": "application/octet-stream"}
        answer = await poller.client.post(poller.url, content=b"\x00\x04\xff4", headers=headers)
        assert answer.status_code == 400
        await unknown(poller)


async def test_a_body_that_is_too_large_is_refused_and_harms_nothing(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in("alice")
        answer = await poller.post("4" * (pod.settings.message_max_bytes + 1))
        assert answer.status_code == 413
        await poller.say('421["echo",1]')
        assert await poller.receive() == '431[[1,"alice"]]'
        assert pod.gateway.sessions.inbound.used_bytes == 0


async def test_a_post_byte_by_byte_ends_its_session(start: Start) -> None:
    async with start(handshake_seconds=1) as pod, polling(pod) as poller:
        await poller.log_in()
        reader, writer = await asyncio.open_connection("127.0.0.1", pod.port)
        path = f"/socket.io/?EIO=4&transport=polling&sid={poller.sid}"
        writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n".encode())

        async def drip() -> None:
            while True:
                writer.write(b"3")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(SECONDS):
            assert b"408" in await reader.readline()
        dripping.cancel()
        writer.close()
        await pod.counted("clarion_closes_total", reason="abnormal")
        await unknown(poller)
        assert pod.gateway.sessions.inbound.used_bytes == 0


async def test_a_post_that_never_ends_ends_its_session(start: Start) -> None:
    async with start(handshake_seconds=1) as pod, polling(pod) as poller:
        await poller.log_in()
        reader, writer = await asyncio.open_connection("127.0.0.1", pod.port)
        path = f"/socket.io/?EIO=4&transport=polling&sid={poller.sid}"
        writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n3".encode())
        async with asyncio.timeout(SECONDS):
            assert b"408" in await reader.readline()
        writer.close()
        await pod.counted("clarion_closes_total", reason="abnormal")
        await unknown(poller)


# Limits


async def test_a_client_that_never_polls_is_a_slow_consumer(start: Start) -> None:
    async with start(max_unsent_bytes=65_536) as pod, polling(pod) as poller:
        await poller.log_in("alice")
        for _ in range(8):
            await pod.publish(Audience("user", "alice"), "bulk", b'"%b"' % (b"x" * 16_000))
        await pod.counted("clarion_closes_total", reason="slow_consumer")
        assert await pod.metric("clarion_slow_consumers_total") == 1
        assert (await poller.get()).text.endswith("1")
        assert pod.gateway.sessions.outbound.waiting.used_bytes == 0


async def test_a_pod_short_of_memory_cuts_those_that_do_not_poll(start: Start) -> None:
    async with (
        start(outbound_max_bytes=1 << 20, max_unsent_bytes=1 << 24) as pod,
        polling(pod) as poller,
    ):
        await poller.log_in("alice")
        for _ in range(90):
            await pod.publish(Audience("user", "alice"), "bulk", b'"%b"' % (b"x" * 16_000))
        await pod.counted("clarion_closes_total", reason="outbound_full")
        await unknown(poller)


async def test_the_body_of_a_poll_is_not_kept(pod: Pod) -> None:
    sent_bytes = 4 << 20
    async with polling(pod) as poller:
        await poller.log_in("alice")
        session: Any = pod.gateway.sessions.polled[poller.sid]
        _, writer = await asyncio.open_connection("127.0.0.1", pod.port)
        path = f"/socket.io/?EIO=4&transport=polling&sid={poller.sid}"
        head = f"GET {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {2 * sent_bytes}\r\n\r\n"
        writer.write(head.encode() + bytes(sent_bytes))

        async def has_come() -> bool:
            ports: Any = pod.gateway.sessions.port._watched
            return any(each._bytes.body >= sent_bytes for each in ports)

        await eventually(has_come)
        kept_bytes = len(session._poll.body)
        writer.close()
        assert kept_bytes == 0


@contextlib.asynccontextmanager
async def deaf(pod: Pod, poller: Poller) -> AsyncIterator[asyncio.StreamWriter]:
    """A TCP connection with a poll whose answer nobody reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect(("127.0.0.1", pod.port))
    _, writer = await asyncio.open_connection(sock=connection, limit=4_096)
    path = f"/socket.io/?EIO=4&transport=polling&sid={poller.sid}"
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    try:
        yield writer
    finally:
        writer.transport.abort()


async def test_answers_that_are_never_read_count_as_what_waits_for_slow_clients(
    start: Start,
) -> None:
    """Also those of sessions that ask on by other TCP connections, or have ended."""
    async with start(outbound_max_bytes=24 << 20, max_unsent_bytes=16 << 20) as pod:
        outbound = pod.gateway.sessions.outbound
        large = b'"%b"' % (b"x" * 60_000)
        async with polling(pod) as poller, contextlib.AsyncExitStack() as stack:
            await poller.log_in("alice")

            async def unread() -> int:
                for _ in range(130):  # more than the kernel keeps
                    await pod.publish(Audience("user", "alice"), "bulk", large)

                async def wait() -> bool:
                    waiting = pod.gateway.sessions.polled[poller.sid]
                    return waiting.unsent_bytes >= 130 * 60_000  # type: ignore[attr-defined]

                await eventually(wait)
                await stack.enter_async_context(deaf(pod, poller))

                async def is_taken() -> bool:
                    waiting = pod.gateway.sessions.polled[poller.sid]
                    return not waiting.unsent_bytes  # type: ignore[attr-defined]

                await eventually(is_taken)
                return outbound.waiting.used_bytes

            assert await unread() > 1 << 20
            assert len(outbound._backlogs) == 1
            await unread()
            assert len(outbound._backlogs) == 2
            await poller.say("1")
            assert len(outbound._backlogs) == 2
            outbound._max_bytes = 0  # memory is short: their connections are cut
            outbound.check()

            async def is_free() -> bool:
                return not outbound._backlogs and outbound.waiting.used_bytes == 0

            await eventually(is_free)


async def test_polls_whose_answers_are_not_read_end_their_connection(pod: Pod) -> None:
    large = b'"%b"' % (b"x" * 50_000)
    async with polling(pod) as poller:
        await poller.log_in("alice")
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", pod.port))
        _, writer = await asyncio.open_connection(sock=connection, limit=4_096)
        path = f"/socket.io/?EIO=4&transport=polling&sid={poller.sid}"
        refused = "clarion_socketio_requests_refused_total"
        for _ in range(400):  # far more than the kernel keeps
            await pod.publish(Audience("user", "alice"), "bulk", large)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            if await pod.metric(refused, error="request"):
                break
        else:
            pytest.fail("each answer was written behind all others")
        writer.close()


async def test_posts_wait_for_handlers_that_are_behind(start: Start, mounted: str) -> None:
    async with start(handlers=mounted, handler_backlog=2) as pod, polling(pod) as poller:
        await poller.log_in()
        from polling_handlers import gate  # noqa: PLC0415 - made by the fixture

        gate.clear()
        packets = [f'42{number}["slow",{number}]' for number in range(6)]
        post = asyncio.create_task(poller.post(*packets))
        poll = await hanging(pod, poller)
        assert not post.done()
        gate.set()
        assert (await post).text == "ok"
        answers = (await poll).text.split("\x1e")
        while len(answers) < 6:
            answers.append(await poller.receive())
        assert sorted(answers) == [f"43{number}[{number}]" for number in range(6)]


async def test_too_many_messages_end_the_session(start: Start, mounted: str) -> None:
    async with (
        start(handlers=mounted, messages_per_second=1, message_burst=5) as pod,
        polling(pod) as poller,
    ):
        await poller.log_in()
        await poller.post(*['42["echo",1]'] * 20)
        await pod.counted("clarion_closes_total", reason="rate_limited")


async def test_sessions_count_as_connections(start: Start) -> None:
    async with start(max_connections=1) as pod, polling(pod):
        async with browser() as client:
            answer = await client.get(pod.url(PATH))
            assert answer.status_code == 503
        await pod.counted("clarion_handshakes_total", wire="socketio", outcome="at_capacity")


async def test_a_draining_pod_sends_its_pollers_elsewhere(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in()
        poll = await hanging(pod, poller)
        draining = asyncio.create_task(pod.gateway.drain.run())
        assert (await poll).text == "1"
        async with browser() as client:
            assert (await client.get(pod.url(PATH))).status_code == 503
        await draining


# Pages of other origins


async def test_pages_may_read_answers_as_the_setting_says(start: Start) -> None:
    ours, theirs = {"origin": "https://app.example.com"}, {"origin": "https://other.example"}
    async with (
        start(allowed_origins=["https://app.example.com"]) as pod,
        browser() as client,
    ):
        await keyed(pod)
        answer = await client.get(pod.url(PATH), headers=ours)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"] == "origin"
        sid = json.loads(answer.text[1:])["sid"]
        for url in (pod.url(PATH), pod.url(f"{PATH}&sid={sid}")):
            refused = await client.get(url, headers=theirs)
            assert (refused.status_code, refused.json()["code"]) == (403, 4)


async def test_a_preflight_is_answered(start: Start) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-mine,content-type",
    }
    async with (
        start(allowed_origins=["https://app.example.com"]) as pod,
        browser() as client,
    ):
        answer = await client.options(
            pod.url(PATH), headers={"origin": "https://app.example.com", **asked}
        )
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-headers"] == "x-mine,content-type"
        assert "POST" in answer.headers["access-control-allow-methods"]
        answer = await client.options(
            pod.url(PATH), headers={"origin": "https://other.example", **asked}
        )
        assert answer.status_code == 403


# Upgrade


def probing(pod: Pod, poller: Poller) -> connect:
    url = f"ws://127.0.0.1:{pod.port}/socket.io/?EIO=4&transport=websocket&sid={poller.sid}"
    return connect(url, proxy=None, compression=None, ping_interval=None)


async def heard(socket: ClientConnection) -> str:
    async with asyncio.timeout(SECONDS):
        return str(await socket.recv(decode=True))


async def upgraded(poller: Poller, socket: ClientConnection) -> None:
    await socket.send("2probe")
    assert await heard(socket) == "3probe"
    await socket.send("5")


async def test_a_session_moves_to_a_websocket(pod: Pod) -> None:
    async with polling(pod) as poller:
        sid = await poller.log_in("alice")
        poll = await hanging(pod, poller)
        async with probing(pod, poller) as socket:
            await socket.send("2probe")
            assert await heard(socket) == "3probe"
            assert (await poll).text == "6"
            await pod.publish(Audience("user", "alice"), "mail", b"1")
            assert (await poller.get()).text == '42["mail",1]', "polling still has the session"
            assert (await poller.get()).text == "6", "and is released again"
            await pod.publish(Audience("user", "alice"), "mail", b"2")

            async def waits() -> bool:
                return bool(pod.gateway.sessions._hub.of_user("alice")[0].socket.unsent_bytes)

            await eventually(waits)
            await socket.send("5")
            assert await heard(socket) == '42["mail",2]', "what waited comes over"
            await socket.send('421["connection"]')
            assert await heard(socket) == f'431["{sid}"]', "the same connection"
            answer = await poller.get()
            assert (answer.status_code, answer.json()["code"]) == (400, 3)
            sessions = "clarion_socketio_sessions"
            assert await pod.metric(sessions, transport="websocket") == 1
            assert await pod.metric(sessions, transport="polling") == 0
            assert await pod.metric("clarion_socketio_upgrades_total", outcome="completed") == 1

        async def forgotten() -> bool:
            return not pod.gateway.sessions.polled and not len(pod.gateway.sessions.heartbeats)

        await eventually(forgotten)
        await unknown(poller)


@pytest.mark.parametrize("said", ["3probe", "2", "4hello", b"2probe", "6"])
async def test_a_websocket_that_says_something_else_is_closed(pod: Pod, said: str | bytes) -> None:
    async with polling(pod) as poller:
        await poller.log_in("alice")
        async with probing(pod, poller) as socket:
            await socket.send(said)
            with pytest.raises(ConnectionClosed):
                await heard(socket)
        await poller.say('421["echo",1]')
        assert await poller.receive() == '431[[1,"alice"]]', "the session goes on"
        assert await pod.metric("clarion_socketio_upgrades_total", outcome="failed") == 1
        async with probing(pod, poller) as socket:
            await upgraded(poller, socket)
            await socket.send('422["echo",2]')
            assert await heard(socket) == '432[[2,"alice"]]', "and may try again"


async def test_each_upgrade_releases_polls_by_one_timer(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[asyncio.TimerHandle] = []
    release = Polling._release

    def noted(each: Polling) -> None:
        release(each)
        if each._releasing is not None:
            timers.append(each._releasing)

    def ticks(timer: asyncio.TimerHandle) -> bool:
        """Whether it is still to come: one that is over was not cancelled, either."""
        return not timer.cancelled() and timer.when() > asyncio.get_running_loop().time()

    monkeypatch.setattr(Polling, "_release", noted)
    async with polling(pod) as poller:
        await poller.log_in("alice")
        for _ in range(5):
            async with probing(pod, poller) as socket:
                await socket.send("2probe")
                assert await heard(socket) == "3probe"
                await socket.send("nonsense")
                with pytest.raises(ConnectionClosed):
                    await heard(socket)
        async with probing(pod, poller) as socket:
            await socket.send("2probe")
            assert await heard(socket) == "3probe"
            assert not timers[-1].cancelled()
            assert not [each for each in timers[:-1] if ticks(each)]


async def test_a_websocket_that_says_nothing_is_ended(start: Start, mounted: str) -> None:
    async with start(handlers=mounted, handshake_seconds=1) as pod, polling(pod) as poller:
        await poller.log_in("alice")
        async with probing(pod, poller) as socket:
            with pytest.raises(ConnectionClosed):
                await heard(socket)
        await poller.say('421["echo",1]')
        assert await poller.receive() == '431[[1,"alice"]]'


async def test_an_upgrade_left_open_is_ended(start: Start, mounted: str) -> None:
    async with (
        start(handlers=mounted, handshake_seconds=1) as pod,
        polling(pod) as poller,
    ):
        await poller.log_in("alice")
        async with probing(pod, poller) as socket:
            await socket.send("2probe")
            assert await heard(socket) == "3probe"
            with pytest.raises(ConnectionClosed):
                await heard(socket)
        await poller.say('421["echo",1]')
        assert await poller.receive() == '431[[1,"alice"]]'


async def test_a_second_websocket_is_closed_and_harms_nothing(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in("alice")
        async with probing(pod, poller) as first, probing(pod, poller) as second:
            with pytest.raises(ConnectionClosed):
                await heard(second)
            await upgraded(poller, first)
            async with probing(pod, poller) as third:
                with pytest.raises(ConnectionClosed):
                    await heard(third)
            await first.send('421["echo",1]')
            assert await heard(first) == '431[[1,"alice"]]'


async def test_a_session_that_ends_takes_its_probe_with_it(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in("alice")
        async with probing(pod, poller) as socket:
            await poller.say("1")
            with pytest.raises(ConnectionClosed):
                await heard(socket)
        await unknown(poller)


async def test_a_websocket_for_no_session_is_refused(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.say("1")
        with pytest.raises(InvalidStatus) as refused:
            async with probing(pod, poller):
                pass
    response = refused.value.response
    assert (response.status_code, json.loads(response.body or b"")["code"]) == (400, 1)


async def test_half_open_sessions_leave_nothing_behind(start: Start) -> None:
    async with start(handshake_seconds=1, max_connections=100) as pod, browser() as client:
        await keyed(pod)
        answers = [await client.get(pod.url(PATH)) for _ in range(120)]
        assert {answer.status_code for answer in answers} <= {200, 503}

        async def forgotten() -> bool:
            return not pod.gateway.sessions.polled and not pod.gateway.sessions.closing

        await eventually(forgotten)
        assert pod.gateway.sessions.unconnected == 0
        begun = sum(answer.status_code == 200 for answer in answers)
        assert await pod.metric("clarion_closes_total", reason="no_connect") == begun
        assert (await client.get(pod.url(PATH))).status_code == 200


async def test_thousands_of_half_open_sessions_cost_nobody_else(start: Start, mounted: str) -> None:
    count, at_once = 5_000, 10
    limits = {
        "address_max_opening": count, "address_handshake_burst": 2 * count,
    }  # fmt: skip
    # So long that all of them are open at the same time, on any machine.
    async with start(handlers=mounted, handshake_seconds=300, **limits) as pod:
        await keyed(pod)
        sessions = pod.gateway.sessions
        reader, writer = await asyncio.open_connection("127.0.0.1", pod.port)
        async with polling(pod) as honest:
            await honest.log_in("alice")
            for number in range(0, count, at_once):
                writer.write(f"GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n".encode() * at_once)
                for _ in range(at_once):
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert b" 200 " in head[:16], head
                    length = head.partition(b"content-length: ")[2].partition(b"\r")[0]
                    await reader.readexactly(int(length))
                if number % 1_000 == 0:
                    await honest.say('421["echo",1]')
                    assert await honest.receive() == '431[[1,"alice"]]'
            assert sessions.unconnected == count
            await honest.say('422["echo",2]')
            assert await honest.receive() == '432[[2,"alice"]]'
        writer.close()
        await pod.gateway.drain.run()

        async def forgotten() -> bool:
            return not (sessions.polled or sessions.unconnected or len(sessions.heartbeats))

        await eventually(forgotten, seconds=3 * SECONDS)


async def test_pipelined_requests_are_answered_in_order(pod: Pod) -> None:
    async with polling(pod) as poller:
        await poller.log_in("alice")
        reader, writer = await asyncio.open_connection("127.0.0.1", pod.port)
        head = f"/socket.io/?EIO=4&transport=polling&sid={poller.sid} HTTP/1.1\r\nhost: x\r\n"
        body = '421["echo",1]'
        writer.write(f"POST {head}content-length: {len(body)}\r\n\r\n{body}".encode())
        writer.write(f"GET {head}\r\n".encode())
        received = b""
        async with asyncio.timeout(SECONDS):
            while b'431[[1,"alice"]]' not in received:
                received += await reader.read(4_096)
        assert received.index(b"ok") < received.index(b"431")
        writer.close()


def test_the_errors_are_those_of_the_metric() -> None:
    from clarion_gateway.wire.engineio import errors  # noqa: PLC0415

    assert len({error.label for error in errors.ALL}) == len(errors.ALL)


async def test_no_request_takes_a_task(pod: Pod) -> None:
    async with polling(pod) as poller, browser() as plain:
        await poller.log_in()
        before = len(asyncio.all_tasks())
        poll = await hanging(pod, poller)
        # One for the poll of this test itself.
        assert len(asyncio.all_tasks()) <= before + 1
        await plain.get(pod.url("/health"))
        await poller.say("1")
        assert isinstance(await poll, httpx.Response)
