"""Mistakes of a client on its WebSocket: each gets its answer, and affects no other client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.integration.pod import Pod
from tests.integration.sockets import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Raw,
    connected,
    frame,
    opened,
    request_of,
    text,
    upgraded,
)

FORGIVEN = 10
ASK = {"kind": "message", "ref": 7, "type": "nobody.handles", "data": None}


@contextlib.asynccontextmanager
async def unaffected(pod: Pod) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Another connection, which must still get events, during the test and at its end."""
    async with opened(pod) as bystander:

        async def is_served() -> None:
            id_ = await pod.publish(type_="still.here")
            while (await bystander.receive("event"))["id"] != str(id_):
                pass  # events that the test published itself

        yield is_served
        await is_served()


async def ended(pod: Pod, code: int, label: str, times: int = 1) -> None:
    """Check that this many connections were closed so far, all of them for that reason."""
    await pod.counted("clarion_closes_total", times, code=str(code), reason=label)
    assert await pod.metric("clarion_closes_total") == times
    assert await pod.metric("clarion_connections") == 1, "the bystander's"


async def closed_with(pod: Pod, raw: Raw, code: int, label: str, times: int = 1) -> str:
    """Check that the gateway closes with that code, counts once and forgets the connection."""
    got, reason = await raw.close_frame()
    assert got == code, reason
    await ended(pod, code, label, times)
    return reason


async def answered(raw: Raw) -> None:
    """Check that a message is still answered, so the connection goes on."""
    await raw.send(text(**ASK))
    answer = await raw.message()
    assert (answer["kind"], answer["ref"], answer["code"]) == ("error", 7, "unknown_type")


MALFORMED = {
    "empty": (b"", "malformed|truncated"),
    "no JSON": (b"hello", "malformed"),
    "cut off": (b'{"kind":"message"', "truncated"),
    "two values": (b'{"kind":"auth","token":null} 1', "trailing"),
    "NaN": (b'{"kind":"message","type":"a","data":NaN}', "malformed"),
    "array": (b"[]", "expected `object`"),
    "string": (b'"message"', "expected `object`"),
    "number": (b"17", "expected `object`"),
    "null": (b"null", "expected `object`"),
    "no kind": (b"{}", "missing required field `kind`"),
    "unknown kind": (b'{"kind":"dance"}', "invalid value 'dance'"),
    "kind of a server": (b'{"kind":"event","id":"1"}', "invalid value 'event'"),
    "kind is a number": (b'{"kind":1}', "expected `str`"),
    "no type": (b'{"kind":"message","data":1}', "missing required field `type`"),
    "type is a number": (b'{"kind":"message","type":5}', "expected `str`, got `int`"),
    "type is null": (b'{"kind":"message","type":null}', "expected `str`, got `null`"),
    "one field too many": (b'{"kind":"message","type":"a","x":1}', "unknown field `x`"),
    "no token": (b'{"kind":"auth"}', "missing required field `token`"),
    "token is a number": (b'{"kind":"auth","token":5}', "expected `str | null`"),
    "ref is an object": (b'{"kind":"message","type":"a","ref": {}}', r"\$.ref"),
    "ref is true": (b'{"kind":"message","type":"a","ref": true}', r"\$.ref"),
    "ref is long": (b'{"kind":"message","type":"a","ref":"%b"}' % (b"r" * 64), "64 bytes"),
    "deep arrays": (
        b'{"kind":"message","type":"a","data":%b}' % (b"[" * 30_000 + b"]" * 30_000),
        "nested less deeply",
    ),
    "deep objects": (
        b'{"kind":"message","type":"a","data":%b1%b}' % (b'{"a":' * 10_000, b"}" * 10_000),
        "nested less deeply",
    ),
}


async def test_what_is_not_of_the_protocol_is_answered_and_forgiven(pod: Pod) -> None:
    async with unaffected(pod) as is_served:
        for count, (name, (payload, expected)) in enumerate(MALFORMED.items(), 1):
            async with upgraded(pod) as raw:
                await raw.send(frame(TEXT, payload))
                error = await raw.message()
                assert (error["kind"], error["ref"], error["code"]) == ("error", None, "malformed")
                assert re.search(expected, error["message"], re.IGNORECASE), (name, error)
                counted = await pod.metric("clarion_messages_received_total", outcome="malformed")
                assert counted == count, name
                await answered(raw)
            await is_served()


async def test_the_eleventh_malformed_message_closes(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        for _ in range(FORGIVEN):
            await raw.send(frame(TEXT, b"nonsense"))
            assert (await raw.message())["code"] == "malformed"
        await answered(raw)  # good messages in between neither help nor harm
        await raw.send(frame(TEXT, b"nonsense") * 5)
        reason = await closed_with(pod, raw, 4400, "malformed")
        assert reason == "too many malformed messages"
        malformed = await pod.metric("clarion_messages_received_total", outcome="malformed")
        assert malformed == FORGIVEN + 1, "what follows a close is not looked at"


async def test_binary_is_refused(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        await raw.send(frame(BINARY, json.dumps(ASK).encode()))
        reason = await closed_with(pod, raw, 1003, "unsupported_data")
        assert reason == "expected text, got a binary message"
        await raw.send(frame(CLOSE, struct.pack("!H", 1003)))
        assert await raw.rest() == b"", "both have said close: the gateway ends TCP"


async def test_ten_megabytes_are_refused_while_they_come_in(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        sending = asyncio.create_task(raw.send(frame(TEXT, bytes(10 << 20))))
        reason = await closed_with(pod, raw, 4413, "too_large")
        assert reason == "expected messages of at most 65536 bytes"
        raw.abort()
        await sending


async def test_a_length_beyond_all_bounds_is_refused_by_the_header_alone(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        await raw.send(struct.pack("!BBQ", 0x81, 0xFF, (1 << 63) - 1) + bytes(4))
        await closed_with(pod, raw, 4413, "too_large")


async def test_the_largest_message_is_let_through(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        message = json.dumps({**ASK, "data": ""}).encode()
        message = message[:-2] + b"x" * (65_536 - len(message)) + message[-2:]
        await raw.send(frame(TEXT, message))
        assert (await raw.message())["code"] == "unknown_type"
        await raw.send(frame(TEXT, message + b" "))
        await closed_with(pod, raw, 4413, "too_large")


async def test_fragments_do_not_get_round_the_limit(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        part = b"x" * 30_000
        await raw.send(frame(TEXT, part, fin=False) + frame(CONT, part, fin=False) * 2)
        await closed_with(pod, raw, 4413, "too_large")


async def test_text_that_is_not_utf8_is_refused(pod: Pod) -> None:
    texts = {
        "no lead byte": b"\xff",
        "no continuation": b'{"kind":"message","type":"\xc3("}',
        "surrogate": b'"\xed\xa0\x80"',
        "cut off": b'"\xf0\x9f\x9a',
    }
    async with unaffected(pod) as is_served:
        for count, payload in enumerate(texts.values(), 1):
            async with upgraded(pod) as raw:
                await raw.send(frame(TEXT, payload))
                reason = await closed_with(pod, raw, 1007, "invalid_text", count)
                assert reason == "expected valid UTF-8 in a text message"
                counted = await pod.metric(
                    "clarion_messages_received_total", outcome="invalid_text"
                )
                assert counted == count
            await is_served()


async def test_a_fragmented_message_works(pod: Pod) -> None:
    """It is cut within a character, with a ping in between (RFC 6455, section 5.4)."""
    message = json.dumps({**ASK, "data": "🚀"}, ensure_ascii=False).encode()
    cut = message.index("🚀".encode()) + 2
    async with unaffected(pod), upgraded(pod) as raw:
        await raw.send(frame(TEXT, message[:cut], fin=False))
        await raw.send(frame(CONT, b"", fin=False))
        await raw.send(frame(PING, b"are you there"))
        assert await raw.frame() == (PONG, b"are you there")
        await raw.send(frame(CONT, message[cut:]))
        assert (await raw.message())["code"] == "unknown_type"
        await answered(raw)


async def test_a_message_byte_by_byte_works(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        for byte in text(**ASK):
            await raw.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await raw.message())["code"] == "unknown_type"


VIOLATIONS = {
    "unmasked": frame(TEXT, b"{}", masked=False),
    "unmasked close": frame(CLOSE, struct.pack("!H", 1000), masked=False),
    "rsv1": frame(TEXT, b"{}", rsv=4),
    "rsv2": frame(TEXT, b"{}", rsv=2),
    "rsv3": frame(PING, b"", rsv=1),
    "opcode 3": frame(0x3, b"{}"),
    "opcode 11": frame(0xB, b""),
    "fragmented ping": frame(PING, b"", fin=False),
    "long ping": frame(PING, bytes(126)),
    "continuation of nothing": frame(CONT, b"{}"),
    "text within a message": frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"),
    "close of one byte": frame(CLOSE, b"\x03"),
    "close code 999": frame(CLOSE, struct.pack("!H", 999)),
    "close code 1005": frame(CLOSE, struct.pack("!H", 1005)),
}


async def test_frames_that_break_the_rfc_are_refused(pod: Pod) -> None:
    async with unaffected(pod) as is_served:
        for count, (name, violation) in enumerate(VIOLATIONS.items(), 1):
            async with upgraded(pod) as raw:
                await raw.send(violation + text(**ASK))
                assert await closed_with(pod, raw, 1002, "protocol_error", count), name
            await is_served()
    answered_after = await pod.metric("clarion_messages_received_total", outcome="unknown_type")
    assert answered_after == 0, "nothing after the violation is looked at"


async def test_a_close_reason_that_is_not_utf8_is_refused(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        await raw.send(frame(CLOSE, struct.pack("!H", 1000) + b"\xff"))
        await closed_with(pod, raw, 1007, "invalid_text")


async def test_a_flood_of_pings_is_refused(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        await raw.send(frame(PING, b"!") * 5_000)
        reason = await closed_with(pod, raw, 4429, "rate_limited")
        assert reason == "too many messages, reconnect later"
        assert await pod.metric("clarion_messages_received_total", outcome="rate_limited") == 1


async def test_a_flood_of_fragments_is_refused(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        await raw.send(frame(TEXT, b"{", fin=False) + frame(CONT, b" ", fin=False) * 5_000)
        await closed_with(pod, raw, 4429, "rate_limited")
        assert await pod.metric("clarion_messages_received_total", outcome="rate_limited") == 1


async def test_a_few_pongs_that_nobody_asked_for_are_allowed(pod: Pod) -> None:
    """RFC 6455, section 5.5.3."""
    async with unaffected(pod), upgraded(pod) as raw:
        await raw.send(frame(PONG, b"!") * 20)
        await answered(raw)
        assert await pod.metric("clarion_closes_total") == 0


async def test_a_flood_of_pongs_is_ended(pod: Pod) -> None:
    """Pongs cost as much to read as other frames."""
    async with unaffected(pod) as is_served:
        async with upgraded(pod) as raw:
            await raw.send(frame(PONG, b"!") * 20_000)
            await ended(pod, 4429, "rate_limited", 1)
        await is_served()


async def test_a_flood_that_goes_on_behind_the_close_is_not_read(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway waits five seconds for the client's close frame, but must not search thousands of
    other frames for it: one client kept the pod busy for all that time."""
    monkeypatch.setattr("clarion_gateway.transports.socket.CLOSE_SECONDS", 600)
    async with unaffected(pod), upgraded(pod) as raw:
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                while not raw.writer.transport.is_closing():
                    raw.writer.write(frame(PING) * 5_000)
                    await raw.writer.drain()
        await ended(pod, 4429, "rate_limited")


CLOSES = {
    "with code and reason": struct.pack("!H", 1000) + b"bye",
    "without a code": b"",
    "going away": struct.pack("!H", 1001),
    "an application's code": struct.pack("!H", 4999) + "tschüß".encode(),
}


async def test_a_client_closes(pod: Pod) -> None:
    async with unaffected(pod) as is_served:
        for count, (name, close) in enumerate(CLOSES.items(), 1):
            async with upgraded(pod) as raw:
                await raw.send(frame(CLOSE, close) + text(**ASK) + frame(PING, b"late"))
                opcode, payload = await raw.frame()
                assert (opcode, payload[:2]) == (CLOSE, close[:2]), f"{name}: the code comes back"
                assert await raw.rest() == b"", (
                    "nothing after close, and the gateway ends TCP first"
                )
                await ended(pod, 1000, "normal", count)
            await is_served()


async def test_a_client_closes_in_the_middle_of_a_message(pod: Pod) -> None:
    """Control frames may come between fragments (RFC 6455, sections 5.4 and 5.5)."""
    parts = frame(TEXT, b"{", fin=False) + frame(CONT, b" ", fin=False)
    async with unaffected(pod) as is_served:
        for count, (name, close) in enumerate(CLOSES.items(), 1):
            async with upgraded(pod) as raw:
                await raw.send(parts + frame(PING, b"?") + frame(CLOSE, close) + frame(CONT, b"}"))
                assert await raw.frame() == (PONG, b"?"), name
                assert await raw.frame() == (CLOSE, close), f"{name}: the code comes back"
                assert await raw.rest() == b"", name
                await ended(pod, 1000, "normal", count)
            await is_served()


async def test_a_gateways_close_is_answered_in_the_middle_of_a_message(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        await raw.send(frame(TEXT, b"{", fin=False) + frame(BINARY, b""))
        assert (await raw.close_frame())[0] == 1002
        assert await raw.rest() == b""


async def test_a_pong_comes_in_its_place(pod: Pod) -> None:
    """It comes before the answers to later messages, and after those to earlier messages."""
    async with unaffected(pod), upgraded(pod) as raw:
        malformed = frame(TEXT, b"nonsense")
        await raw.send(malformed + frame(PING, b"1") + malformed + frame(PING, b"2") + malformed)
        answers = [await raw.frame() for _ in range(5)]
        assert [opcode for opcode, _ in answers] == [TEXT, PONG, TEXT, PONG, TEXT]
        assert [payload for opcode, payload in answers if opcode == PONG] == [b"1", b"2"]


async def test_a_ping_is_answered_with_all_that_it_carries(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        for payload in (b"", b"x", bytes(range(125))):
            await raw.send(frame(PING, payload))
            assert await raw.frame() == (PONG, payload)


async def test_a_client_ends_tcp_without_a_close(pod: Pod) -> None:
    async with unaffected(pod) as is_served:
        for count, halfway in enumerate((b"", text(**ASK)[:9]), 1):
            async with upgraded(pod) as raw:
                await raw.send(halfway)
                raw.writer.write_eof()
                await raw.rest()
                await ended(pod, 1006, "abnormal", count)
            await is_served()


async def test_a_client_resets_tcp(pod: Pod) -> None:
    async with unaffected(pod), upgraded(pod) as raw:
        raw.abort()
        await ended(pod, 1006, "abnormal")


async def test_messages_in_the_segment_of_the_handshake_are_answered_after_welcome(
    pod: Pod,
) -> None:
    async with unaffected(pod), connected(pod) as raw:
        await raw.send(request_of() + text(**ASK) + text(**{**ASK, "ref": 8}))
        assert (await raw.response()).status == 101
        messages = [await raw.message() for _ in range(3)]
        assert [message["kind"] for message in messages] == ["welcome", "error", "error"]
        assert [message["ref"] for message in messages[1:]] == [7, 8]


async def test_a_ping_in_the_segment_of_the_handshake_is_answered_after_its_response(
    pod: Pod,
) -> None:
    async with unaffected(pod), connected(pod) as raw:
        await raw.send(request_of() + frame(PING, b"?"))
        head = await raw.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert sorted([(await raw.frame())[0], (await raw.frame())[0]]) == [TEXT, PONG]


async def test_a_mistake_in_the_segment_of_the_handshake_is_told(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:
        await raw.send(request_of() + frame(BINARY, b"?"))
        assert (await raw.response()).status == 101
        await closed_with(pod, raw, 1003, "unsupported_data")


async def test_a_malformed_message_in_the_segment_of_the_handshake_is_answered(pod: Pod) -> None:
    """The answer comes after `welcome`, which is always the first message."""
    async with unaffected(pod), connected(pod) as raw:
        await raw.send(request_of() + frame(TEXT, b"nonsense"))
        assert (await raw.response()).status == 101
        assert (await raw.message())["kind"] == "welcome"
        assert (await raw.message())["code"] == "malformed"


async def test_a_close_in_the_segment_of_the_handshake_is_heard(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:
        await raw.send(request_of() + frame(CLOSE, struct.pack("!H", 1000)))
        answer = await raw.rest()
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        assert answer.endswith(b"\x88\x02" + struct.pack("!H", 1000))
        await ended(pod, 1000, "normal")


async def test_a_lone_surrogate_is_one_bad_message(pod: Pod) -> None:
    """Half of an emoji, as JavaScript's `JSON.stringify` writes it."""
    async with unaffected(pod), upgraded(pod) as raw:
        await raw.send(frame(TEXT, rb'{"kind":"message","type":"a","data":"\ud83d"}'))
        error = await raw.message()
        assert (error["kind"], error["code"]) == ("error", "malformed")
        assert "expected text without lone surrogates" in error["message"]
        await raw.send(frame(PING, b"still here"))
        assert await raw.frame() == (PONG, b"still here")
    assert await pod.metric("clarion_messages_received_total", outcome="malformed") == 1
