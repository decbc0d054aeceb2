"""The bus: publishing events to Redis and reading them back from their logs.

Stands between a publisher (or a handler's reply) and every gateway's `contract.subscriber`. Owns
the Lua scripts; knows nothing of HTTP, sockets or tokens. Redis' errors leave as `BusUnavailable`.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import structlog
from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from contract.audience import Audience
from contract.errors import BusUnavailable, IdempotencyKeyReused
from contract.event import Event, InvalidMessage, Publication, parse_message
from contract.keyspace import Keyspace, pod_stream

CONNECT_TIMEOUT_SECONDS: Final = 2.0
COMMAND_TIMEOUT_SECONDS: Final = 5.0
# Enough to keep one Redis busy. More callers than that wait their turn instead of being refused.
_CONNECTIONS_MAX: Final = 16

_log = structlog.get_logger(__name__)

_DUPLICATE: Final = 1
_KEY_REUSED: Final = 2
_PROBE_HEADER: Final = "clarion.probe - -"


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How much of each stream Redis keeps, and how long idempotency keys are remembered."""

    max_events: int
    max_age_seconds: int
    key_ttl_seconds: int


@dataclass(frozen=True, slots=True)
class Published:
    """The bus's answer to one publication.

    Attributes:
        id: of the event; of the first one with the same idempotency key when ``duplicate``.
        gateways: pods that were subscribed to the event's stream when it was published.
    """

    id: int
    duplicate: bool
    gateways: int


Answer = Published | IdempotencyKeyReused | BusUnavailable
"""What became of one publication among several: a failure stands in its own place."""


@dataclass(frozen=True, slots=True)
class History:
    """The events of one stream after a position.

    Attributes:
        floor: the log is whole for every position at or above it.
        last: id of the stream's newest event, 0 when none is remembered.
        events: in id order, at most as many as asked for.
    """

    floor: int
    last: int
    events: list[Event]


def redis_from_url(url: str) -> Redis:
    """A client that never resends a command by itself: a publish that got no answer may have run.

    Raises:
        ValueError: the URL names no scheme or database that redis-py knows.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS_MAX,
        timeout=COMMAND_TIMEOUT_SECONDS,
        protocol=3,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        # redis-py keeps it with asyncio.wait_for, which in Python 3.11 can swallow a cancellation;
        # every command here has a timeout around it instead.
        socket_timeout=None,
        socket_keepalive=True,
    )
    return Redis.from_pool(pool)


class Script:
    """A Lua script and the SHA-1 by which Redis caches it."""

    def __init__(self, name: str) -> None:
        self.text = resources.files("contract").joinpath(name).read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Bus:
    """Publishes to and reads from the streams of one namespace."""

    def __init__(self, redis: Redis, keyspace: Keyspace, limits: HistoryLimits) -> None:
        self._redis = redis
        self._keys = keyspace
        self._limits = limits
        self._publish = Script("publish.lua")
        self._history = Script("history.lua")

    async def publish(self, publications: Sequence[Publication]) -> list[Answer]:
        """Publish in order, in one pipeline; the answers stand in the same order.

        A `BusUnavailable` among the answers is one publication that Redis refused.

        Raises:
            BusUnavailable: Redis did not answer. Each of the publications ran whole or not at all;
                only those with a key are safe to publish again.
        """
        if not publications:
            return []
        replies = await self._run(
            self._publish,
            [self._publish_arguments(publication) for publication in publications],
        )
        return [_answer(reply) for reply in replies]

    async def probe(self, pod: str) -> int:
        """Send an event through the whole publish path to ``pod`` itself; returns its id."""
        arguments = self._arguments(pod_stream(pod), _PROBE_HEADER, b"null")
        ((id_, _, _),) = _whole(await self._run(self._publish, [arguments]))
        return int(id_)

    async def history(
        self, ranges: Sequence[tuple[Audience, int]], *, limit: int, broken_too: bool = False
    ) -> list[History]:
        """For each (audience, since): what its stream's log holds after ``since``.

        Args:
            ranges: read in one pipeline; the answers stand in the same order.
            limit: events per stream, at most.
            broken_too: read the events of a log that does not reach back to ``since`` as well.
        """
        rest = (str(limit), str(self._limits.max_age_seconds * 1000), str(int(broken_too)))
        replies = await self._run(
            self._history,
            [
                (3, *self._stream_keys(audience.stream), str(since), *rest)
                for audience, since in ranges
            ],
        )
        return [
            History(int(floor), int(last), _events(audience, entries))
            for (audience, _), (floor, last, entries) in zip(ranges, _whole(replies), strict=True)
        ]

    async def run(
        self, script: Script, calls: Sequence[tuple[str | bytes | int, ...]]
    ) -> list[Any]:
        """Run another module's script once for each call, in one pipeline.

        Args:
            calls: what follows EVALSHA and the script: number of keys, keys, arguments. A call's
                keys share a slot.

        Raises:
            BusUnavailable: Redis did not answer, or refused one of the calls; some may have run.
        """
        return _whole(await self._run(script, calls))

    async def ping(self) -> None:
        """Raise `BusUnavailable` unless Redis answers."""
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                await self._redis.ping()
        except (RedisError, OSError) as error:
            raise BusUnavailable(_one_line(error)) from error

    async def aclose(self) -> None:
        """Close every connection."""
        await self._redis.aclose()

    def _publish_arguments(self, publication: Publication) -> tuple[str | bytes | int, ...]:
        stream = publication.audience.stream
        if publication.key is None:
            return self._arguments(stream, publication.header, publication.data)
        return self._arguments(
            stream,
            publication.header,
            publication.data,
            self._keys.key(stream, publication.key),
            _fingerprint(publication),
        )

    def _arguments(
        self, stream: str, header: str, data: bytes, key: str = "", fingerprint: str = ""
    ) -> tuple[str | bytes | int, ...]:
        keys = self._stream_keys(stream)
        return (
            4,
            *keys,
            key or keys[1],
            self._keys.channel(stream),
            header,
            data,
            self._limits.max_events,
            self._limits.max_age_seconds * 1000,
            fingerprint,
            self._limits.key_ttl_seconds * 1000,
            "PUBLISH",
        )

    def _stream_keys(self, stream: str) -> tuple[str, str, str]:
        return self._keys.log(stream), self._keys.meta(stream), self._keys.clock

    async def _run(
        self, script: Script, calls: Sequence[tuple[str | bytes | int, ...]]
    ) -> list[Any]:
        """EVALSHA each call in one pipeline; load the script where Redis does not know it.

        A `ResponseError` that a call got stands in the place of its reply.
        """
        try:
            replies = await self._pipeline(script.sha, calls)
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                # A restarted Redis. None of these ran, so running them now keeps their order.
                async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                    await self._redis.script_load(script.text)
                again = await self._pipeline(script.sha, [calls[i] for i in unknown])
                for i, reply in zip(unknown, again, strict=True):
                    replies[i] = reply
        except (RedisError, OSError, asyncio.IncompleteReadError) as error:
            raise BusUnavailable(_one_line(error)) from error
        return replies

    async def _pipeline(
        self, sha: str, calls: Sequence[tuple[str | bytes | int, ...]]
    ) -> list[Any]:
        """Send all calls in one write and read as many replies.

        Works on a pooled connection itself: redis-py's `Pipeline` costs 45 µs a command where this
        costs 13 to 15 (docs/decisions/0003-publish-pipeline.md).
        """
        pool = self._redis.connection_pool
        async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
            connection = await pool.get_connection()
        replies: list[Any] = []
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                await connection.send_packed_command(b"".join([_pack(sha, call) for call in calls]))
                for _ in calls:
                    replies.append(await _reply(connection))
        finally:
            # Replies left unread, also when cancelled, would reach the next user. And a primary
            # that became a replica must be left: its name may lead to the new primary by now.
            if len(replies) < len(calls) or any(isinstance(r, ReadOnlyError) for r in replies):
                await connection.disconnect(nowait=True)
            await pool.release(connection)
        return replies


def _pack(sha: str, call: tuple[str | bytes | int, ...]) -> bytes:
    packed: bytes = pack_command(("EVALSHA", sha, *call))  # type: ignore[arg-type]  # see its stub
    return packed


async def _reply(connection: AbstractConnection) -> object:
    try:
        return await connection.read_response(timeout=math.inf, disconnect_on_error=False)
    except ResponseError as error:
        return error


def _fingerprint(publication: Publication) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in (publication.type.encode(), (publication.exclude or "").encode(), publication.data):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()


def _whole(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise BusUnavailable(_one_line(reply)) from reply
    return replies


def _answer(reply: tuple[bytes, int, int] | ResponseError) -> Answer:
    if isinstance(reply, ResponseError):
        return BusUnavailable(_one_line(reply))
    id_, outcome, gateways = reply
    if outcome == _KEY_REUSED:
        return IdempotencyKeyReused(int(id_))
    return Published(int(id_), outcome == _DUPLICATE, gateways)


def _events(audience: Audience, entries: list[tuple[bytes, list[bytes]]]) -> list[Event]:
    """The events of log entries. An entry that is none costs nobody the others."""
    events = []
    for entry in entries:
        try:
            events.append(_logged(audience, entry))
        except (InvalidMessage, KeyError):
            _log.warning("not an event in a log", stream=audience.stream, entry=entry[0].decode())
    return events


def _logged(audience: Audience, entry: tuple[bytes, list[bytes]]) -> Event:
    """The event in a log entry ``(<id>-0, [p, prev, h, header, d, data])``."""
    stream_id, fields = entry
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    event_id = stream_id.partition(b"-")[0]
    return parse_message(
        audience, b"%b %b %b\n%b" % (event_id, values[b"p"], values[b"h"], values[b"d"])
    )


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
