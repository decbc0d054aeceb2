"""Hears the channels on which producers publish, while this publisher is the reader.

Messages that are published while nobody listens are lost: Redis keeps nothing. A message that this
publisher has heard is lost only if it ends before Clarion's Redis has it. Nobody else has heard it
as the reader, so it may be handed in late. A probe that does not come back shows that the
connection leads nowhere, such as to a primary that another one has replaced.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.connections import subscribing_connection
from clarion_contract.redis.faults import unavailable
from clarion_contract.redis.url import RedisUrl
from clarion_publisher.sources.socketio.emitter_messages import (
    events_channel,
    read_event,
    read_request,
    requests_channel,
)
from clarion_publisher.sources.socketio.intake import Taken
from clarion_publisher.sources.socketio.message import (
    EMITTER,
    PYTHON,
    TOO_LARGE,
    Content,
    Unreadable,
)
from clarion_publisher.sources.socketio.python_messages import read_message
from clarion_publisher.sources.socketio.racing import until_one_ends
from clarion_publisher.sources.socketio.stream import Lease, Redis

# Messages that wait to be handed in. Past them, reading pauses, and Redis keeps the rest as far as
# its client-output-buffer-limit for pubsub goes.
_WAITING_MAX: Final = 10_000
_WAITING_BYTES: Final = 16 << 20
_PROBE_SECONDS: Final = 2.0
_SILENCE_SECONDS: Final = 6.0


@dataclass(frozen=True, slots=True)
class Names:
    """The channels that are heard.

    Attributes:
        key: of `@socket.io/redis-emitter`; None: its channels are not heard.
        channel: of python-socketio; None: likewise.
        probe: of this publisher's own probes.
        message_bytes: larger messages are refused.
    """

    key: str | None
    channel: str | None
    probe: str
    message_bytes: int


class Channels:
    """One subscription after the other; the messages of all wait in one queue.

    Attributes:
        worked: whether the last subscription, or the current one, has heard a probe.
    """

    def __init__(self, parsed: RedisUrl, redis: Redis, names: Names, lease: Lease) -> None:
        self._parsed = parsed
        self._redis = redis
        self._names = names
        self._lease = lease
        self._nodes = itertools.cycle(parsed.nodes or (None,))
        self._run = secrets.token_urlsafe(9)
        self._count = itertools.count()
        self._waiting: list[tuple[Taken, int]] = []
        self._bytes = 0
        self._closed = False
        self._changed = asyncio.Condition()
        self._heard_at = 0.0
        self.worked = False

    async def listen(self) -> None:
        """Hear messages until the connection is lost.

        Raises:
            BusUnavailable: it is, or another publisher is the reader now.
        """
        connection = subscribing_connection(self._parsed, next(self._nodes))
        self._heard_at = time.monotonic()
        self.worked = False
        try:
            await connection.connect()
            await self._subscribe(connection)
            await until_one_ends(self._receive(connection), self._probe())
        except (RedisError, OSError, asyncio.IncompleteReadError) as error:
            raise unavailable(error) from error
        finally:
            await connection.disconnect(nowait=True)

    async def next(self) -> list[Taken]:
        """The messages that wait, once there is one; they wait until `taken`. Empty: `closed`."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
            return [message for message, _ in self._waiting]

    async def taken(self, count: int) -> None:
        """Forget messages that are done."""
        async with self._changed:
            self._bytes -= sum(size for _, size in self._waiting[:count])
            del self._waiting[:count]
            self._changed.notify_all()

    async def close(self) -> None:
        """No more messages will come in."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def _subscribe(self, connection: AbstractConnection) -> None:
        names = self._names
        channels = [names.probe, *([names.channel] if names.channel else [])]
        await connection.send_command("SUBSCRIBE", *channels)
        if names.key:
            beginnings = (events_channel(names.key), requests_channel(names.key))
            await connection.send_command(
                "PSUBSCRIBE", *(f"{_literal(each)}*" for each in beginnings)
            )

    async def _receive(self, connection: AbstractConnection) -> None:
        while True:
            reply: Any = await connection.read_response(timeout=math.inf)
            if reply[0] not in (b"message", b"pmessage"):
                continue
            channel, data = reply[-2].decode(errors="replace"), reply[-1]
            if channel == self._names.probe:
                self._heard_at, self.worked = time.monotonic(), True
                continue
            if not self._lease.held:
                raise BusUnavailable("another publisher may be the reader")
            producer = PYTHON if channel == self._names.channel else EMITTER
            content = self._read(channel, data)
            if content is not None:
                key = f"\0socketio:{self._run}:{next(self._count)}"
                await self._put(Taken(producer, key, time.time(), content), len(data))

    async def _put(self, message: Taken, size: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._full)
            self._waiting.append((message, size))
            self._bytes += size
            self._changed.notify_all()

    async def _probe(self) -> None:
        while True:
            await self._redis.command("PUBLISH", self._names.probe, "")
            await asyncio.sleep(_PROBE_SECONDS)
            if not self._full and time.monotonic() - self._heard_at > _SILENCE_SECONDS:
                raise BusUnavailable("the subscription does not hear its own probes")

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= _WAITING_MAX or self._bytes >= _WAITING_BYTES

    def _read(self, channel: str, data: bytes) -> Content | Unreadable | None:
        names = self._names
        if len(data) > names.message_bytes:
            most = f"expected at most {names.message_bytes} bytes"
            return Unreadable(TOO_LARGE, f"{most}, got {len(data)}")
        try:
            if channel == names.channel:
                return read_message(data)
            key = names.key or ""
            events, requests = events_channel(key), requests_channel(key)
            if channel.startswith(requests):
                return read_request(channel.removeprefix(requests), data)
            return read_event(channel.removeprefix(events), data)
        except Unreadable as unreadable:
            return unreadable


def _literal(text: str) -> str:
    """A text that stands for itself in a pattern of PSUBSCRIBE."""
    return "".join(f"\\{character}" if character in "*?[\\" else character for character in text)
