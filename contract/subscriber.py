"""The bus's receiving end: one subscription connection of one gateway pod.

Carries bytes and confirmations in the order in which Redis sent them. Order, gaps and repair belong
to `gateway.subscription`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from contract.errors import BusUnavailable
from contract.keyspace import Keyspace
from contract.redis_connections import subscribing_connection

# Channels named by one SUBSCRIBE: keeps each command, and the pause it causes in Redis, small.
_CHANNELS_PER_COMMAND: Final = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """A bus message as it came in on a stream's channel."""

    stream: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Subscribed:
    """Redis confirmed the subscription: everything published from here on will come in."""

    stream: str


class Subscriber:
    """One connection in subscriber mode. Not restartable: make a new one after a failure."""

    def __init__(self, redis_url: str, keyspace: Keyspace) -> None:
        self._connection = subscribing_connection(redis_url)
        self._keys = keyspace
        self._write = asyncio.Lock()

    async def connect(self) -> None:
        """Open the connection.

        Raises:
            BusUnavailable: Redis cannot be reached or refuses the credentials.
        """
        try:
            await self._connection.connect()
        except (RedisError, OSError) as error:
            raise BusUnavailable(f"{type(error).__name__}: {error}") from error

    async def subscribe(self, streams: Iterable[str]) -> None:
        """Ask for streams; `receive` returns a `Subscribed` for each when Redis has confirmed."""
        await self._send("SUBSCRIBE", streams)

    async def unsubscribe(self, streams: Iterable[str]) -> None:
        """Give streams up. Messages already on their way still come in."""
        await self._send("UNSUBSCRIBE", streams)

    async def receive(self) -> Message | Subscribed:
        """The next message or confirmation. Does not suspend while read data is at hand.

        Cancelling it drops the connection.

        Raises:
            BusUnavailable: the connection is lost.
        """
        while True:
            try:
                reply: Any = await self._connection.read_response(timeout=math.inf)
            except (RedisError, OSError, asyncio.IncompleteReadError) as error:
                raise BusUnavailable(f"{type(error).__name__}: {error}") from error
            kind = reply[0]
            if kind == b"message":
                return Message(self._keys.stream(reply[1].decode()), reply[2])
            if kind == b"subscribe":
                return Subscribed(self._keys.stream(reply[1].decode()))

    async def aclose(self) -> None:
        """Drop the connection without waiting for Redis."""
        await self._connection.disconnect(nowait=True)

    async def _send(self, command: str, streams: Iterable[str]) -> None:
        channels = [self._keys.channel(stream) for stream in streams]
        try:
            async with self._write:
                for start in range(0, len(channels), _CHANNELS_PER_COMMAND):
                    chunk = channels[start : start + _CHANNELS_PER_COMMAND]
                    await self._connection.send_command(command, *chunk)
        except (RedisError, OSError) as error:
            raise BusUnavailable(f"{type(error).__name__}: {error}") from error
