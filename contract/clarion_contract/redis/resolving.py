"""Connections that tell a DNS that does not answer from a Redis that does not answer.

A network policy that forbids DNS drops the queries. The system's resolver gives up after ten
seconds or more, long after a connect had to end, whose error then says nothing of a name.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from redis.asyncio.connection import Connection, SSLConnection

# Less than a connect, a probe or a node of a cluster may take. A resolver without an answer by then
# has lost its query, and sends it again only after five seconds.
_SECONDS: Final = 0.8


async def resolve(host: str, port: int, seconds: float = _SECONDS) -> None:
    """Ask for the addresses of a host, for which the connect then asks again, and tells of errors.

    Raises:
        socket.gaierror: nothing answers.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.ensure_future(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    asked.add_done_callback(_ignore)  # it may come when nobody waits for it any more
    await asyncio.wait([asked], timeout=seconds)
    if not asked.done():
        raise socket.gaierror(socket.EAI_AGAIN, f"no answer for {host} within {seconds:g} s")


class ResolvingConnection(Connection):
    """A connection over TCP."""

    async def _connect(self) -> None:
        await resolve(self.host, self.port)
        await super()._connect()  # type: ignore[no-untyped-call]  # redis-py's


class SecureResolvingConnection(ResolvingConnection, SSLConnection):
    """A connection over TLS."""


def resolving(options: dict[str, Any]) -> dict[str, Any]:
    """Options of redis-py, with these classes where they name a host."""
    if "path" in options:
        return options
    secure = options.get("connection_class") is SSLConnection
    of = SecureResolvingConnection if secure else ResolvingConnection
    return {**options, "connection_class": of}


def _ignore(asked: asyncio.Future[Any]) -> None:
    if not asked.cancelled():
        asked.exception()
