"""Whatever bytes arrive: no exception reaches the event loop, and other clients are served.

These tests send mutations of correct input, made from a fixed seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from tests.integration.conftest import Start
from tests.integration.pod import Pod, token
from tests.integration.sockets import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    connected,
    frame,
    opened,
    request_of,
    text,
)

REQUESTS = 400
CONVERSATIONS = 200
AT_ONCE = 20


@pytest.fixture
async def pod(start: Start) -> AsyncIterator[Pod]:
    async with start(compression=True, handshake_seconds=2, message_max_bytes=4_096) as pod:
        yield pod


@contextlib.asynccontextmanager
async def nothing_raises(pod: Pod) -> AsyncIterator[None]:
    """Check that no exception was uncaught, no task died, and another client gets an event."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    async with opened(pod) as bystander:
        yield
        id_ = await pod.publish()
        assert (await bystander.receive("event"))["id"] == str(id_)
        await pod.counted("clarion_connections", 1)
        assert await pod.metric("clarion_closes_total", reason="internal_error") == 0
        assert await pod.metric("clarion_handshakes_total", outcome="internal_error") == 0
    assert unhandled == []


def mutated(dice: random.Random, data: bytes) -> bytes:
    """Flip, repeat, cut out and insert bytes at random places."""
    result = bytearray(data)
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(result) + 1)
        what = dice.randrange(5)
        if what == 0 and at < len(result):
            result[at] ^= 1 << dice.randrange(8)
        elif what == 1:
            del result[at : at + dice.randrange(1, 30)]
        elif what == 2:
            result[at:at] = dice.randbytes(dice.randrange(1, 9))
        elif what == 3:
            result[at:at] = dice.choice(
                [b"\r\n", b"\x00", b" ", b"%", b"&", b"?", b"://", b"[", b"\xff"]
            )
        else:
            result[at:at] = result[at : at + dice.randrange(1, 60)]
    return bytes(result)


def some_request(dice: random.Random) -> bytes:
    query = dice.choice(["", "?since=1", "?since=%FF", "?" + "a&" * 50, "?token=x&since=", "?=&=;"])
    path = dice.choice(["/ws", "/sse", "/ws/", "/", "//", "/sse/../ws", "http://[/ws", "*"]) + query
    headers: dict[str, str | None] = {
        "Origin": dice.choice([None, "http://127.0.0.1", "null", "http://["]),
        "Authorization": dice.choice([None, "Bearer", "Bearer x.y.z", "Basic eA=="]),
        "Last-Event-ID": dice.choice([None, "1", "abc", "9" * 16]),
        "Sec-WebSocket-Protocol": dice.choice([None, "clarion.v1", ",,", "clarion.bearer.é"]),
        "Sec-WebSocket-Extensions": dice.choice(
            [None, "permessage-deflate", "permessage-deflate; server_max_window_bits=99", ";;,"]
        ),
        "Content-Length": dice.choice([None, None, "0", "5", "-1"]),
        "Expect": dice.choice([None, None, "100-continue"]),
    }
    if dice.random() < 0.4:  # no upgrade
        headers |= {"Upgrade": dice.choice([None, "h2c", ""]), "Connection": None}
    request = request_of(path, headers=headers)
    method = dice.choice([b"GET"] * 5 + [b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"get", b"PRI"])
    return request.replace(b"GET", method, 1)


def some_frames(dice: random.Random) -> bytes:
    payloads = [
        b"",
        b"{}",
        b'{"kind":"auth","token":null,"ref":1}',
        b'{"kind":"message","type":"x","ref":"r"}',
        b"\x03\xe8bye",
        dice.randbytes(20),
        b"[" * 3_000,
    ]
    return b"".join(
        frame(
            dice.choice([TEXT, TEXT, TEXT, CONT, BINARY, CLOSE, PING, PONG, 3, 11]),
            dice.choice(payloads),
            fin=dice.random() < 0.8,
            rsv=dice.choice([0, 0, 0, 4, 2]),
            masked=dice.random() < 0.95,
        )
        for _ in range(dice.randrange(1, 6))
    )


Work = Callable[[random.Random], Coroutine[Any, Any, None]]


async def many(work: Work, count: int) -> None:
    """Run a few at a time, each with its own random generator."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> None:
        async with slots, asyncio.timeout(60):
            await work(random.Random(seed))

    async with asyncio.TaskGroup() as group:
        for seed in range(count):
            group.create_task(one(seed))


async def test_no_request_breaks_anything(pod: Pod) -> None:
    async def ask(dice: random.Random) -> None:
        data = some_request(dice)
        if dice.random() < 0.7:
            data = mutated(dice, data)
        if dice.random() < 0.3:
            data += some_request(dice) if dice.random() < 0.5 else some_frames(dice)
        async with connected(pod) as raw:
            cut = dice.randrange(len(data) + 1)
            await raw.send(data[:cut])
            await asyncio.sleep(0)
            await raw.send(data[cut:])
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(0.02):
                    await raw.reader.read(65_536)
            if dice.random() < 0.3:
                raw.abort()

    async with nothing_raises(pod):
        await many(ask, REQUESTS)


async def test_no_frames_break_anything(pod: Pod) -> None:
    jwt = token("alice")

    async def talk(dice: random.Random) -> None:
        extensions = "permessage-deflate" if dice.random() < 0.3 else None
        async with connected(pod) as raw:
            await raw.send(request_of(headers={"Sec-WebSocket-Extensions": extensions}))
            assert (await raw.response()).status == 101
            await raw.frame()
            if dice.random() < 0.3:
                await raw.send(text(kind="auth", token=jwt, ref=1))
            for _ in range(dice.randrange(1, 4)):
                await raw.send(mutated(dice, some_frames(dice)))
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(0.02):
                    await raw.reader.read(65_536)
            if dice.random() < 0.3:
                raw.abort()

    async with nothing_raises(pod):
        await many(talk, CONVERSATIONS)
