"""A TCP proxy in front of a server that damages connections on demand, as a network does.

It can swallow what the server (a Redis, mostly) sends without closing anything, cut a connection in the middle of a
message, and end idle connections in each way in which proxies, balancers and NATs do. It runs in
the test's own event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.tcp import listening, port_of

_CHUNK_BYTES = 65_536


@dataclass(eq=False)
class Link:
    """One connection through the proxy.

    Attributes:
        subscribes: whether it has subscribed to channels.
        silent: whether the proxy swallows what Redis sends on it.
        cut_after: bytes of Redis' next chunk that still pass before the connection is closed.
        forgotten: whether the next packet of the client is answered with a reset.
        client: the connection to the client.
    """

    client: asyncio.StreamWriter
    subscribes: bool = False
    silent: bool = False
    cut_after: int | None = None
    forgotten: bool = False

    def close(self) -> None:
        """End the connection in good order, with a FIN."""
        self.client.close()

    def reset(self) -> None:
        """End the connection with a RST."""
        connection = self.client.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.transport.abort()


@dataclass
class Proxy:
    """A proxy in front of the Redis at 127.0.0.1:``target``."""

    target: int
    port: int = 0
    links: list[Link] = field(default_factory=list)
    all_silent: bool = False
    server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def subscriptions(self) -> list[Link]:
        return [link for link in self.links if link.subscribes]

    def silence_subscriptions(self) -> None:
        """Silence the present subscriptions; later connections work."""
        for link in self.subscriptions:
            link.silent = True

    def lose(self) -> None:
        """Behave like a node that has lost its network: nothing is closed, nothing comes back.

        New connections are refused, as by a balancer that knows.
        """
        assert self.server is not None
        self.server.close()
        self.all_silent = True
        for link in self.links:
            link.silent = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(writer, silent=self.all_silent)
        self.links.append(link)
        try:
            await self._join(link, reader, writer)
        finally:
            self.links.remove(link)

    async def _join(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            answers, requests = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:  # nobody listens: the client sees its connection close
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, requests, link, back=False))
                group.create_task(self._pass_on(answers, writer, link, back=True))
        finally:
            requests.close()

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: Link, *, back: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_CHUNK_BYTES):
                link.subscribes = link.subscribes or (not back and b"SUBSCRIBE" in data)
                if not back and link.forgotten:
                    link.reset()
                    break
                if back and link.silent:
                    continue
                if back and link.cut_after is not None:
                    sink.write(data[: link.cut_after])
                    await sink.drain()
                    break
                sink.write(data)
                await sink.drain()
        sink.close()


@contextlib.asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """A proxy in front of a port, until the context ends."""
    proxy = Proxy(target)
    async with listening(proxy.serve) as server:
        proxy.server, proxy.port = server, port_of(server)
        yield proxy
