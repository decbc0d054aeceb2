"""The seam of wire formats: a second text format is one class and one row of the table of routes.

`LineFormat` is that class and `ROUTES` that row. Everything else is the gateway as it is, spoken to
over real sockets, with clients of the native format beside.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.event import Event
from clarion_gateway.transports.routes import ROUTES, Route
from clarion_gateway.wire import frames
from clarion_gateway.wire.format import Framed, TopicsHeard, Welcome
from clarion_gateway.wire.messages import Authenticate, Malformed, Message
from clarion_gateway.wire.parts import Parts
from tests.integration.pod import SECONDS, Pod, started, token
from tests.integration.sockets import opened

HANDLERS = """
from clarion import Handlers, Refusal

handlers = Handlers()

@handlers.on("echo")
def echo(data, context):
    return [data, context.user]

@handlers.on("refuse")
def refuse(data, context):
    raise Refusal("refused", "not today")
"""


class LineFormat:
    """``test.v1``: one line of words for each message, the ref behind its first word."""

    name = "line"
    namespace = "/"
    carries_parts = False
    with_topics = None
    visible_ping = frames.text(b"BEAT")
    ping = frames.PING + visible_ping

    def decode(self, message: bytes) -> Message | Authenticate:
        word, ref, rest = [*message.split(b" ", 2), b"", b""][:3]
        if word == b"AUTH":
            return Authenticate(rest.decode() or None, ref)
        if word == b"SAY":
            type_, _, data = rest.partition(b" ")
            return Message(type_.decode(), data or b"null", ref)
        raise Malformed("expected SAY or AUTH")

    def event(self, event: Event) -> bytes:
        return self._line("EVENT", str(event.id), event.type, event.data.decode())

    def welcome(self, welcome: Welcome) -> bytes:
        resumed = {None: "new", True: "resumed", False: "lost"}[welcome.resumed]
        return self._line("HELLO", str(welcome.position), resumed, welcome.user or "-")

    def reply(self, ref: bytes, data: bytes, parts: Parts | None = None) -> bytes:
        return self._line("REPLY", ref.decode(), data.decode())

    def message(self, type_: str, data: bytes, parts: Parts | None = None) -> bytes:
        return self._line("MESSAGE", type_, data.decode())

    def ask(self, ref: bytes, type_: str, data: bytes, parts: Parts | None = None) -> bytes:
        return b""

    def error(self, ref: bytes | None, code: str, message: str) -> bytes:
        return self._line("ERROR", "-" if ref is None else ref.decode(), code, message)

    def gap(self, position: int) -> bytes:
        return self._line("GAP", str(position))

    def identity(
        self,
        ref: bytes | None,
        user: str | None,
        expires_in: int | None,
        heard: TopicsHeard | None = None,
    ) -> bytes:
        del expires_in, heard
        return self._line("YOU", "-" if ref is None else ref.decode(), user or "-")

    def reconnect(self, after_ms: int, reason: str) -> bytes:
        return self._line("BACK", str(after_ms), reason)

    def closing(self, label: str, reason: str) -> bytes:
        del reason
        return self._line("BYE", label)

    def _line(self, *words: str) -> bytes:
        return frames.text(" ".join(words).encode())


WS: Final = ROUTES[b"/ws"]
LINES: Final = {
    **ROUTES,
    b"/ws": Route(WS.transport, {**WS.formats, "test.v1": Framed(LineFormat())}),
}


@pytest.fixture
async def pod(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pod]:
    (tmp_path / "line_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    async with started(
        redis_url, namespace, routes=LINES, handlers="line_handlers:handlers"
    ) as pod:
        yield pod


class LineClient:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def receive(self) -> list[str]:
        """The words of the next line; the last one is the rest of it."""
        async with asyncio.timeout(SECONDS):
            return (await self.connection.recv(decode=True)).split(" ", 3)

    async def ask(self, line: str) -> list[str]:
        await self.connection.send(line)
        return await self.receive()


@contextlib.asynccontextmanager
async def lines(pod: Pod, query: str = "") -> AsyncIterator[LineClient]:
    async with connect(
        pod.url("/ws" + query), subprotocols=[Subprotocol("test.v1")], proxy=None
    ) as connection:
        assert connection.subprotocol == "test.v1"
        yield LineClient(connection)


async def test_welcome_and_events_are_told_in_the_clients_own_format(pod: Pod) -> None:
    async with lines(pod, f"?token={token('alice')}") as alice, opened(pod) as native:
        word, position, *rest = await alice.receive()
        assert (word, rest) == ("HELLO", ["new", "alice"])
        assert int(position) <= int(native.welcome["id"])

        shared = await pod.publish(ALL, "tick", b'{"n":1}')
        own = await pod.publish(Audience("user", "alice"), "tock", b"2")

        assert await alice.receive() == ["EVENT", str(shared), "tick", '{"n":1}']
        assert await alice.receive() == ["EVENT", str(own), "tock", "2"]
        assert (await native.receive("event"))["id"] == str(shared)
    assert await pod.metric("clarion_deliveries_total", wire="line") == 2


async def test_messages_are_answered_in_the_clients_own_format(pod: Pod) -> None:
    async with lines(pod) as client:
        await client.receive()

        assert await client.ask("SAY 7 echo {}") == ["REPLY", "7", "[{},null]"]
        assert await client.ask("SAY 8 refuse") == ["ERROR", "8", "refused", "not today"]
        assert await client.ask("SHOUT") == ["ERROR", "-", "malformed", "expected SAY or AUTH"]
        assert await client.ask(f"AUTH 9 {token('alice')}") == ["YOU", "9", "alice"]
        assert await client.ask("SAY a echo 1") == ["REPLY", "a", '[1,"alice"]']
    assert await pod.metric("clarion_messages_received_total", outcome="malformed") == 1


async def test_a_client_resumes_whatever_format_it_had_before(pod: Pod) -> None:
    async with opened(pod) as native:
        last = native.welcome["id"]
    missed = await pod.publish(ALL, "tick", b"1")

    async with lines(pod, f"?since={last}") as client:
        assert await client.receive() == ["HELLO", last, "resumed", "-"]
        assert await client.receive() == ["EVENT", str(missed), "tick", "1"]
    async with lines(pod, "?since=1") as client:
        assert (await client.receive())[2] == "lost"


async def test_invalid_text_never_reaches_a_format(pod: Pod) -> None:
    async with lines(pod) as client:
        await client.receive()
        await client.connection.send(b"SAY 1 echo \xff", text=True)
        assert await client.receive() == ["BYE", "invalid_text"]
        async with asyncio.timeout(SECONDS):
            await client.connection.wait_closed()
        assert client.connection.close_code == 1007


async def test_a_subprotocol_that_stands_in_no_row_is_refused(pod: Pod) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(pod.url(), subprotocols=[Subprotocol("test.v2")], proxy=None):
            pass
    assert refused.value.response.status_code == 400


async def test_what_counts_by_format_counts_the_new_one(pod: Pod) -> None:
    async with lines(pod) as client:
        await client.receive()
        await pod.counted("clarion_connections", wire="line", identity="anonymous")
        assert await pod.metric("clarion_handshakes_total", wire="line", outcome="accepted") == 1
