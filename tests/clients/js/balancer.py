"""A load balancer for TCP: each new connection goes to the next gateway that takes it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence

_CHUNK_BYTES = 65_536


@contextlib.asynccontextmanager
async def balanced(ports: Sequence[int]) -> AsyncIterator[str]:
    """Balance over ports of this host; yields the address, ``http://127.0.0.1:PORT``.

    Args:
        ports: may change meanwhile, as after a health check.
    """
    turns = itertools.count()
    tasks: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_serve(reader, writer, next(turns), ports))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: int, ports: Sequence[int]
) -> None:
    with contextlib.closing(writer):
        for turn in range(len(ports)):
            try:
                answers, requests = await asyncio.open_connection(
                    "127.0.0.1", ports[(first + turn) % len(ports)]
                )
            except OSError:
                continue
            with contextlib.closing(requests):
                ways = [_pass_on(reader, requests), _pass_on(answers, writer)]
                tasks = [asyncio.ensure_future(way) for way in ways]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
            return


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
