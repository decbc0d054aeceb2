"""A server of any bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[asyncio.Server]:
    """A server on a free port of 127.0.0.1; at the end it ends all its connections, too.

    `asyncio.start_server` alone leaves them to the garbage collector, whose warning then fails a
    test that has nothing to do with them.

    Args:
        serve: called with each connection, which is closed when it returns.
    """
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def to_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await serve(reader, writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio.start_server would log that it was cancelled at the end.
        task = asyncio.create_task(to_the_end(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        writers.append(writer)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield server
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()  # a client may not take what is left
        await asyncio.sleep(0)


def port_of(server: asyncio.Server) -> int:
    """The port that a server listens on."""
    port: int = server.sockets[0].getsockname()[1]
    return port
