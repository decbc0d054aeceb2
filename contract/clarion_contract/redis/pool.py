"""A pool of connections for commands, each of which works when it is handed out.

A server or a proxy may have ended a connection while it lay idle: with a FIN, with a RST, or
without a word, so that only the next packet finds out. `CheckedPool` finds out before a command
is sent. Afterwards it would be too late: a publish without an answer may have run, and must not
be sent again.
"""

from __future__ import annotations

import asyncio
from typing import Final

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

# After this idle time a connection must answer a PING first. The shortest idle time that Redis
# and common proxies can be set to is 1 s.
_IDLE_SECONDS: Final = 0.5
# Longer than a Redis that is just busy needs. One that hangs longer costs a new connection.
_ANSWER_SECONDS: Final = 0.5


class CheckedPool(BlockingConnectionPool):
    """redis-py's pool, but connections are checked in every way in which they can have ended.

    redis-py's own check does not see a RST, nor a flow that a proxy or a NAT has forgotten.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]  # as redis-py's own factories do
        # When each idle connection was last used, in seconds of the loop's clock.
        self._used_at: dict[AbstractConnection, float] = {}

    async def get_connection(self) -> AbstractConnection:  # type: ignore[override]  # deprecated
        """A connection that works, as soon as one is free.

        Raises:
            RedisError: there is none; nothing was sent.
            OSError: likewise.
        """
        connection: AbstractConnection = await super().get_connection()  # type: ignore[no-untyped-call]
        return connection

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect, or connect anew if the connection does not work any more."""
        if connection.is_connected:
            works = False
            try:
                works = await self._works(connection)
            finally:  # also where the caller had no patience
                if not works:
                    await connection.disconnect(nowait=True)
                    # The others probably ended with it: the next callers must not find out one
                    # by one.
                    await self.disconnect_idle()
        await connection.connect()

    async def release(self, connection: AbstractConnection) -> None:
        """Take a connection back."""
        self._used_at[connection] = asyncio.get_running_loop().time()
        await super().release(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections without waiting for the other side.

        It never suspends, so a cancellation cannot leave a connection open. redis-py's own method
        starts a task for each connection, and does not close those whose task is cancelled first.
        """
        used = self._in_use_connections if inuse_connections else ()
        for connection in (*self._available_connections, *used):
            await connection.disconnect(nowait=True)

    async def disconnect_idle(self) -> None:
        """Close the connections that nobody uses, without waiting for the other side."""
        await self.disconnect(inuse_connections=False)

    async def _works(self, connection: AbstractConnection) -> bool:
        if await _ended(connection):
            return False
        idle_seconds = asyncio.get_running_loop().time() - self._used_at.get(connection, 0.0)
        return idle_seconds < _IDLE_SECONDS or await _answers(connection)


async def _ended(connection: AbstractConnection) -> bool:
    """Whether the other side has ended the connection, or has sent what nobody asked for."""
    reader, writer = connection._reader, connection._writer  # noqa: SLF001 - no public way
    if reader is None or writer is None:
        return True
    # A RST sets the reader's exception and closes the transport. redis-py sees a FIN, and a reply
    # that was not read.
    if reader.exception() is not None or writer.transport.is_closing():
        return True
    return await connection.can_read()


async def _answers(connection: AbstractConnection) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await connection.send_command("PING", check_health=False)
            reply: object = await connection.read_response()
    except (RedisError, OSError):  # TimeoutError is an OSError
        return False
    return reply == b"PONG"
