"""The receiving end of the bus: one subscription connection of one gateway pod.

It passes on messages and confirmations in the order in which Redis sent them. Event order, gaps and
repair belong to `clarion_gateway.bus.subscription`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.connections import subscribing_connection
from clarion_contract.redis.faults import unavailable
from clarion_contract.redis.keyspace import Keyspace, bucket_of, pod_stream
from clarion_contract.redis.url import Host, parse_redis_url

# Channels per SUBSCRIBE: keeps each command small, and with it the pause that it causes in Redis.
_CHANNELS_PER_COMMAND: Final = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """A bus message, and the stream on whose channel it came."""

    stream: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Subscribed:
    """Redis confirmed the subscription: every event published from now on will arrive."""

    stream: str


class Subscriber:
    """One subscription connection. Not restartable: make a new one after a failure.

    Args:
        node: of a cluster; None: the only server.
    """

    def __init__(self, redis_url: str, keyspace: Keyspace, *, node: Host | None = None) -> None:
        self._connection = subscribing_connection(parse_redis_url(redis_url), node)
        self._keys = keyspace
        self._write = asyncio.Lock()
        # On a cluster: streams that were given up and that Redis has not confirmed yet.
        self._given_up: set[str] = set()

    async def connect(self) -> None:
        """Open the connection.

        Raises:
            BusUnavailable: Redis cannot be reached or refuses the credentials.
        """
        try:
            await self._connection.connect()
        except (RedisError, OSError) as error:
            raise unavailable(error) from error

    def probe_streams(self, pod: str) -> list[str]:
        """The streams whose events, one on each, show that the connection works."""
        return [pod_stream(pod)]

    async def subscribe(self, streams: Iterable[str]) -> None:
        """Subscribe to streams; `receive` returns a `Subscribed` when Redis confirms each."""
        await self._send("SSUBSCRIBE" if self._keys.clustered else "SUBSCRIBE", streams)

    async def unsubscribe(self, streams: Iterable[str]) -> None:
        """Give up streams. Messages that are already on their way still come in."""
        if self._keys.clustered:
            streams = list(streams)
            self._given_up.update(streams)
        await self._send("SUNSUBSCRIBE" if self._keys.clustered else "UNSUBSCRIBE", streams)

    async def receive(self) -> Message | Subscribed:
        """The next message or confirmation. Does not suspend while unread data is in memory.

        Cancelling it drops the connection.

        Raises:
            BusUnavailable: the connection is lost.
        """
        while True:
            try:
                reply: Any = await self._connection.read_response(timeout=math.inf)
            except (RedisError, OSError, asyncio.IncompleteReadError) as error:
                raise unavailable(error) from error
            kind = reply[0]
            if kind in (b"message", b"smessage"):
                return Message(self._keys.stream(reply[1].decode()), reply[2])
            if kind in (b"subscribe", b"ssubscribe"):
                return Subscribed(self._keys.stream(reply[1].decode()))
            if kind == b"sunsubscribe":
                self._unsubscribed(self._keys.stream(reply[1].decode()))

    async def aclose(self) -> None:
        """Drop the connection without waiting for Redis."""
        await self._connection.disconnect(nowait=True)

    def _unsubscribed(self, stream: str) -> None:
        if stream not in self._given_up:
            raise BusUnavailable(f"{stream} has moved to another node of the cluster")
        self._given_up.discard(stream)

    async def _send(self, command: str, streams: Iterable[str]) -> None:
        try:
            async with self._write:
                for channels in self._together(streams):
                    for start in range(0, len(channels), _CHANNELS_PER_COMMAND):
                        chunk = channels[start : start + _CHANNELS_PER_COMMAND]
                        await self._connection.send_command(command, *chunk)
        except (RedisError, OSError) as error:
            raise unavailable(error) from error

    def _together(self, streams: Iterable[str]) -> Collection[list[str]]:
        """Channels grouped so that one command may name them: on a cluster, by slot."""
        if not self._keys.clustered:
            return ([self._keys.channel(stream) for stream in streams],)
        groups: dict[str, list[str]] = {}
        for stream in streams:
            groups.setdefault(bucket_of(stream), []).append(self._keys.channel(stream))
        return groups.values()
