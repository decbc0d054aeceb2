"""Clients: a well-behaved one (`websockets`), one that sends any bytes a test wants, and SSE."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect

from tests.integration.pod import SECONDS, Pod
from tests.messages import checked

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Client:
    """A `websockets` client that has been welcomed."""

    def __init__(self, connection: ClientConnection, welcome: dict[str, Any]) -> None:
        self.connection = connection
        self.welcome = welcome
        self.id = welcome["connection"]

    async def receive(self, kind: str | None = None) -> dict[str, Any]:
        """The next message that is no ping; it must have that kind."""
        message: dict[str, Any] = {"kind": "ping"}
        async with asyncio.timeout(SECONDS):
            while message["kind"] == "ping":
                message = checked(await self.connection.recv(decode=True))
        assert kind is None or message["kind"] == kind, message
        return message

    async def events(self, count: int) -> list[dict[str, Any]]:
        return [await self.receive("event") for _ in range(count)]

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def ask(self, type_: str, data: Any = None, ref: Any = 1) -> dict[str, Any]:
        """Send a message to a handler; the next message counts as its answer."""
        await self.send(kind="message", ref=ref, type=type_, data=data)
        return await self.receive()

    async def log_in(self, token: str | None, ref: Any = 1) -> dict[str, Any]:
        await self.send(kind="auth", ref=ref, token=token)
        return await self.receive()

    async def closed(self) -> tuple[int | None, str | None]:
        """Wait for the gateway to close; return code and reason. Earlier messages are dropped."""
        async with asyncio.timeout(SECONDS):
            await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


@contextlib.asynccontextmanager
async def dialled(
    pod: Pod, *, headers: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[ClientConnection]:
    """An open `websockets` connection from which nothing has been read yet. Options that `connect`
    does not know go into the query."""
    known = {
        name: options.pop(name)
        for name in ("subprotocols", "compression", "max_queue", "ping_interval", "origin")
        if name in options
    }
    query = f"?{urlencode(options)}" if options else ""
    known = {"compression": None, "ping_interval": None, "max_size": None, **known}
    async with connect(
        pod.url() + query, additional_headers=headers, proxy=None, close_timeout=2, **known
    ) as connection:
        yield connection


@contextlib.asynccontextmanager
async def opened(pod: Pod, **options: Any) -> AsyncIterator[Client]:
    """A welcomed client."""
    async with dialled(pod, **options) as connection:
        async with asyncio.timeout(SECONDS):
            welcome = checked(await connection.recv(decode=True))
        assert welcome["kind"] == "welcome", welcome
        yield Client(connection, welcome)


def request_of(path: str = "/ws", *, headers: Mapping[str, str | None] | None = None) -> bytes:
    """The request of a WebSocket handshake; a header that is None is left out."""
    fields: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        **(headers or {}),
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items() if v is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """A client's frame, correct or wrong as the arguments say (RFC 6455, section 5.2)."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    mask_bit = 0x80 if masked else 0
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, mask_bit | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, mask_bit | 126, length)
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, length)
    return head + (bytes(4) + payload if masked else payload)  # masked with zeros: as it is


def text(**message: Any) -> bytes:
    return frame(TEXT, json.dumps(message).encode())


@dataclass
class Response:
    """The head of an HTTP response, and its body if it has a length."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        return str(json.loads(self.body)["detail"])


class Raw:
    """A TCP connection that reads HTTP heads and frames, and writes whatever a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def response(self) -> Response:
        async with asyncio.timeout(SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.split("\r\n")
            headers = {}
            for line in lines:
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Response(int(status.split(" ")[1]), headers, body)

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame; ``EOFError`` when the gateway has closed."""
        async with asyncio.timeout(SECONDS):
            first, second = await self.reader.readexactly(2)
            assert first & 0x80, "a server never fragments"
            assert not second & 0x80, "a server never masks"
            length = second
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def message(self) -> dict[str, Any]:
        """The next text message that is no ping."""
        while True:
            opcode, payload = await self.frame()
            assert opcode == TEXT, (opcode, payload)
            message = dict(json.loads(payload))
            if message["kind"] != "ping":
                return message

    async def close_frame(self) -> tuple[int, str]:
        """Code and reason of the gateway's close frame; other frames before it are dropped."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                (code,) = struct.unpack("!H", payload[:2]) if payload else (1005,)
                return code, payload[2:].decode()

    async def rest(self) -> bytes:
        """Everything until the gateway closes the TCP connection."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def abort(self) -> None:
        """Close with a reset, unless the gateway has done so."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def connected(pod: Pod, *, receive_buffer: int | None = None) -> AsyncIterator[Raw]:
    """A TCP connection to the public port."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", pod.port))
    except BaseException:
        sock.close()
        raise
    reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 16)
    raw = Raw(reader, writer)
    try:
        yield raw
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def upgraded(pod: Pod, path: str = "/ws", **headers: str | None) -> AsyncIterator[Raw]:
    """A raw WebSocket that has been welcomed."""
    async with connected(pod) as raw:
        await raw.send(request_of(path, headers=headers))
        response = await raw.response()
        assert response.status == 101, response
        welcome = await raw.message()
        assert welcome["kind"] == "welcome", welcome
        yield raw


@dataclass
class ServerSentEvent:
    type: str
    data: str
    id: str

    @property
    def value(self) -> Any:
        return json.loads(self.data)


class EventStream:
    """An SSE response, parsed as the HTML standard says (section 9.2.6)."""

    def __init__(self, raw: Raw, response: Response) -> None:
        self.raw = raw
        self.response = response
        self.id = ""
        self.retry: int | None = None

    async def receive(self) -> ServerSentEvent:
        """The next event that is no ping; `asyncio.IncompleteReadError` at the stream's end."""
        while (event := await self.receive_any()).type == "$ping":
            pass
        return event

    async def receive_any(self) -> ServerSentEvent:
        """The next event; `asyncio.IncompleteReadError` when the stream has ended."""
        type_, data = "message", []
        async with asyncio.timeout(SECONDS):
            while True:
                line = (await self.raw.reader.readuntil(b"\n"))[:-1].decode()
                if not line and data:
                    return ServerSentEvent(type_, "\n".join(data), self.id)
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "event":
                    type_ = value
                elif name == "data":
                    data.append(value)
                elif name == "id":
                    self.id = value
                elif name == "retry":
                    self.retry = int(value)

    async def welcomed(self) -> ServerSentEvent:
        event = await self.receive()
        assert event.type == "$welcome", event
        return event


@contextlib.asynccontextmanager
async def streamed(pod: Pod, path: str = "/sse", **headers: str) -> AsyncIterator[EventStream]:
    """The response to an SSE request. None of its events has been read yet."""
    fields = {
        "Host": f"127.0.0.1:{pod.port}",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
    async with connected(pod) as raw:
        await raw.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        yield EventStream(raw, await raw.response())
