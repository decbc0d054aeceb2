"""A load balancer in front of gateways on this host."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from tests.tcp import listening, port_of

_CHUNK_BYTES = 65_536
_CONNECTION = re.compile(rb"\r\nconnection: *keep-alive", re.IGNORECASE)


def balanced(ports: Sequence[int]) -> AbstractAsyncContextManager[str]:
    """Each new TCP connection goes to the next gateway that takes it.

    Args:
        ports: may change meanwhile, as after a health check.

    Returns:
        A context that yields the address, ``http://127.0.0.1:PORT``.
    """
    return _listening(ports, scatters=False)


def scattered(ports: Sequence[int]) -> AbstractAsyncContextManager[str]:
    """As `balanced`, but each request goes to another gateway than the one before.

    Each TCP connection carries one request: the gateway is told that it is the last one.
    """
    return _listening(ports, scatters=True)


@contextlib.asynccontextmanager
async def _listening(ports: Sequence[int], *, scatters: bool) -> AsyncIterator[str]:
    turns = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = next(turns) % len(ports)
        in_order = [*ports[turn:], *ports[:turn]]
        await _serve(reader, writer, in_order, scatters=scatters)

    async with listening(serve) as server:
        yield f"http://127.0.0.1:{port_of(server)}"


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    ports: Sequence[int],
    *,
    scatters: bool,
) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        head = await _last_head(reader) if scatters else b""
        answers, requests = await _opened(ports)
        with contextlib.closing(requests):
            requests.write(head)
            ways = [_pass_on(reader, requests), _pass_on(answers, writer)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()


async def _last_head(reader: asyncio.StreamReader) -> bytes:
    """The head of a request, which says that no other one follows it."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b"pgrade: websocket" in head:
        return head
    return _CONNECTION.sub(b"", head)[:-2] + b"connection: close\r\n\r\n"


async def _opened(
    ports: Sequence[int],
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first of these gateways that is there."""
    for port in ports[:-1]:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection("127.0.0.1", port)
    return await asyncio.open_connection("127.0.0.1", ports[-1])


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
