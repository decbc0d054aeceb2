"""The bus: publishes events to Redis and reads them back from their logs.

An event passes from a publisher (or from a handler's reply) through this module to the
`clarion_contract.redis.subscriber` of every gateway. The module owns the arguments and the replies
of the Lua scripts. `clarion_contract.redis.server` runs the scripts. HTTP, sockets and tokens play
no part here.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from redis.exceptions import ResponseError

from clarion_contract.bus.history import PAGE_MAX_BYTES, History, page_of
from clarion_contract.bus.history_limits import HistoryLimits, LogLimits
from clarion_contract.events.audience import Audience
from clarion_contract.events.errors import BusUnavailable, IdempotencyKeyReused
from clarion_contract.events.event import (
    Publication,
    Published,
)
from clarion_contract.redis.cluster import RedisCluster
from clarion_contract.redis.connections import pool_to
from clarion_contract.redis.faults import unavailable
from clarion_contract.redis.keyspace import POSITION_STREAM, Keyspace, pod_stream, shard_stream
from clarion_contract.redis.server import (
    NO_REPLICAS,
    Call,
    Proof,
    RedisServer,
    Replication,
    Script,
)
from clarion_contract.redis.url import parse_redis_url

_DUPLICATE: Final = 1
_KEY_REUSED: Final = 2
_PROBE_HEADER: Final = "clarion.probe - -"
_PROBE_KEY_MILLISECONDS: Final = 100


Answer = Published | IdempotencyKeyReused | BusUnavailable
"""The result of one publication out of several. A failure stands in the publication's own place."""


def redis_from_url(url: str) -> RedisServer | RedisCluster:
    """Redis in the form that a bus needs, not connected yet.

    Raises:
        ValueError: `clarion_contract.redis.url` does not know this form of URL.
    """
    parsed = parse_redis_url(url)
    return RedisCluster(parsed) if parsed.nodes else RedisServer(pool_to(parsed))


class ScriptingBus(Protocol):
    """The part of `Bus` that modules with their own scripts use."""

    async def run(
        self, script: Script, calls: Sequence[Call], *, replicated: bool = False
    ) -> list[Any]:
        """See `Bus.run`."""

    async def read(self, *command: str | bytes | int) -> Any:  # noqa: ANN401
        """See `Bus.read`."""

    async def command(self, *command: str | bytes | int) -> Any:  # noqa: ANN401
        """See `Bus.command`."""


class Bus:
    """Publishes to and reads from the streams of one namespace."""

    def __init__(
        self,
        redis: RedisServer | RedisCluster,
        keyspace: Keyspace,
        limits: HistoryLimits,
        replication: Replication = NO_REPLICAS,
    ) -> None:
        self._redis = redis
        self._replication = replication
        self._keys = keyspace
        self._publish_command = keyspace.publish_command
        self._limits = limits
        self._publish = Script("event.lua", "publish.lua")
        self._history = Script("floor.lua", "history.lua")
        self._proofs: tuple[Proof, ...] = ()
        self._proven_until = 0.0

    def believe(self, heard: Mapping[str, int]) -> None:
        """From now on, read only from servers whose logs hold these events.

        A primary that hung while another one took its place answers on connections that were open,
        until it learns of that. A client that resumed from its logs would miss in silence what
        was published on the new primary. A probe that came back on the pod's subscription shows
        which server is the primary: a former one does not have it.

        Args:
            heard: by stream, the id of the newest event that came in. On a cluster, one stream of
                each primary.
        """
        self._proofs = tuple(
            Proof(self._keys.log(stream), f"{id_}-0") for stream, id_ in heard.items()
        )
        # Redis may forget the events then. No server has a later one, or it would be known here.
        self._proven_until = time.monotonic() + self._limits.max_age_seconds

    async def publish(self, publications: Sequence[Publication]) -> list[Answer]:
        """Publish in order, in one pipeline; the answers stand in the same order.

        A `BusUnavailable` among the answers concerns one publication: Redis refused it, or too few
        replicas have confirmed it. A caller that publishes it again with its key waits for the
        replicas again.

        Raises:
            BusUnavailable: Redis did not answer. Each publication ran completely or not at all;
                only publications with a key are safe to publish again.
        """
        if not publications:
            return []
        replies = await self._redis.run(
            self._publish,
            [self._publish_arguments(publication) for publication in publications],
            self._replication,
        )
        return [_answer(reply, clustered=self._keys.clustered) for reply in replies]

    async def probe(self, streams: Sequence[str]) -> list[int]:
        """Send one event on each stream through the whole publish path; return their ids."""
        calls = [self._arguments(stream, _PROBE_HEADER, b"null") for stream in streams]
        return [int(id_) for id_, _, _ in self._whole(await self._redis.run(self._publish, calls))]

    async def probe_streams(self, pod: str) -> list[str]:
        """The streams on which a pod proves that it can publish: one on each primary.

        Raises:
            BusUnavailable: no node of the cluster answers.
        """
        if isinstance(self._redis, RedisCluster):
            return [shard_stream(name, pod) for name in await self._redis.buckets_apart()]
        return [pod_stream(pod)]

    async def probe_publishing(self, stream: str) -> None:
        """Publish as producers do: without a key, with a key, and again with the key.

        Raises:
            BusUnavailable: Redis did not answer, or refused, or too few replicas have confirmed.
        """
        key = self._keys.key(stream, "probe")
        # The key is forgotten before the next probe, so that each probe writes it anew.
        with_key = self._arguments(
            stream, _PROBE_HEADER, b"null", key, "probe", ttl_milliseconds=_PROBE_KEY_MILLISECONDS
        )
        calls = [self._arguments(stream, _PROBE_HEADER, b"null"), with_key, with_key]
        self._whole(await self._redis.run(self._publish, calls, self._replication))

    async def position(self) -> int:
        """A position of now: earlier events have lower ids of the shared clock, later ones higher.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        return (await self.probe([POSITION_STREAM]))[0]

    async def history(
        self,
        ranges: Sequence[tuple[Audience, int]],
        *,
        limit: int,
        broken_too: bool = False,
        max_bytes: int = PAGE_MAX_BYTES,
    ) -> list[History]:
        """For each (audience, since): a page of the events after ``since`` in its stream's log.

        Args:
            ranges: read in one pipeline; the answers stand in the same order.
            limit: events per stream, at most.
            broken_too: read the events also from a log that does not reach back to ``since``.
            max_bytes: of data, over all streams together. Each stream has an equal share, which
                its last event may pass: a page is never empty because an event is large.

        Example: the whole of one log.

            since: int | None = 0
            while since is not None:
                (page,) = await bus.history([(ALL, since)], limit=500)
                since = page.next_since
        """
        return await self._pages(ranges, limit, max_bytes, broken_too=broken_too)

    async def newest(
        self, audiences: Sequence[Audience], *, limit: int, max_bytes: int = PAGE_MAX_BYTES
    ) -> list[History]:
        """For each audience: the newest events in its stream's log.

        Args:
            audiences: read in one pipeline; the answers stand in the same order.
            limit: events per stream, at most.
            max_bytes: as for `history`.

        Returns:
            Pages whose ``floor`` is the position after which they hold every event. ``next_since``
            is None if the log holds nothing before.

        Raises:
            BusUnavailable: Redis did not answer.
        """
        ranges = [(audience, 0) for audience in audiences]
        pages = await self._pages(ranges, limit, max_bytes, broken_too=True, newest=True)
        return [
            replace(page, floor=page.next_since, next_since=page.floor)
            if page.next_since is not None and page.next_since > page.floor
            else replace(page, next_since=None)
            for page in pages
        ]

    async def _pages(
        self,
        ranges: Sequence[tuple[Audience, int]],
        limit: int,
        max_bytes: int,
        *,
        broken_too: bool,
        newest: bool = False,
    ) -> list[History]:
        rest = (
            str(limit),
            str(self._limits.max_age_seconds * 1000),
            str(int(broken_too)),
            str(max_bytes // max(len(ranges), 1)),
            str(int(newest)),
        )
        replies = await self._redis.run(
            self._history,
            [
                (3, *self._stream_keys(audience.stream), str(since), *rest)
                for audience, since in ranges
            ],
            proofs=self._wanted_proofs,
        )
        return [
            page_of(audience, int(floor), int(last), int(logged), entries, int(next_since) or None)
            for (audience, _), (floor, last, logged, entries, next_since) in zip(
                ranges, self._whole(replies), strict=True
            )
        ]

    async def holds(self, stream: str, id_: int) -> bool:
        """Whether a stream's log holds the event with an id, or the event is its newest.

        An event without history is in no log. So the answer is no if a later one was published.

        Raises:
            BusUnavailable: Redis did not answer.
        """
        entry = f"{id_}-0"
        if await self.read("XRANGE", self._keys.log(stream), entry, entry):
            return True
        last = await self.read("HGET", self._keys.meta(stream), "last")
        return last is not None and int(last) == id_

    async def run(
        self, script: Script, calls: Sequence[Call], *, replicated: bool = False
    ) -> list[Any]:
        """Run another module's script once for each call, in one pipeline.

        Args:
            calls: the arguments of EVALSHA after the script: number of keys, keys, arguments. All
                keys of a call share a slot.
            replicated: wait for as many replicas as a publication waits for.

        Raises:
            BusUnavailable: Redis did not answer, or refused one of the calls, or too few replicas
                have confirmed them. Some of the calls may have run.
        """
        replication = self._replication if replicated else NO_REPLICAS
        return self._whole(await self._redis.run(script, calls, replication))

    async def read(self, *command: str | bytes | int) -> Any:  # noqa: ANN401 - as Redis has it
        """Run another module's command that only reads, see `believe`.

        Raises:
            BusUnavailable: Redis did not answer, or refused.
        """
        return await self._redis.command(*command, proofs=self._wanted_proofs)

    async def command(self, *command: str | bytes | int) -> Any:  # noqa: ANN401 - as Redis has it
        """Run another module's command.

        Raises:
            BusUnavailable: Redis did not answer, or refused.
        """
        return await self._redis.command(*command)

    async def ping(self) -> None:
        """Raise `BusUnavailable` unless Redis answers."""
        await self._redis.command("PING")

    async def aclose(self) -> None:
        """Close every connection."""
        await self._redis.aclose()

    @property
    def _wanted_proofs(self) -> Sequence[Proof]:
        return self._proofs if time.monotonic() < self._proven_until else ()

    def _publish_arguments(self, publication: Publication) -> Call:
        stream = publication.audience.stream
        limits = self._limits.of(publication)
        if publication.key is None:
            return self._arguments(stream, publication.header, publication.payload, limits=limits)
        return self._arguments(
            stream,
            publication.header,
            publication.payload,
            self._keys.key(stream, publication.key),
            _fingerprint(publication),
            limits=limits,
        )

    def _arguments(
        self,
        stream: str,
        header: str,
        data: bytes,
        key: str = "",
        fingerprint: str = "",
        *,
        ttl_milliseconds: int | None = None,
        limits: LogLimits | None = None,
    ) -> Call:
        keys = self._stream_keys(stream)
        limits = limits or LogLimits(self._limits.max_events, self._limits.max_age_seconds)
        return (
            4,
            *keys,
            key or keys[1],
            self._keys.channel(stream),
            header,
            data,
            limits.max_events,
            self._limits.max_age_seconds * 1000,
            fingerprint,
            ttl_milliseconds or self._limits.key_ttl_seconds * 1000,
            self._publish_command,
            self._keys.lane(stream),
            limits.max_age_seconds * 1000,
            limits.keep_seconds * 1000,
        )

    def _whole(self, replies: list[Any]) -> list[Any]:
        for reply in replies:
            if isinstance(reply, BusUnavailable):
                raise reply
            if isinstance(reply, ResponseError):
                raise unavailable(reply, clustered=self._keys.clustered) from reply
        return replies

    def _stream_keys(self, stream: str) -> tuple[str, str, str]:
        return self._keys.log(stream), self._keys.meta(stream), self._keys.clock(stream)


def _fingerprint(publication: Publication) -> str:
    digest = hashlib.blake2b(digest_size=12)
    parts = [publication.type.encode(), (publication.exclude or "").encode(), publication.data]
    if not publication.history:
        parts.append(b"no history")
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()


def _answer(
    reply: tuple[bytes, int, int] | ResponseError | BusUnavailable, *, clustered: bool
) -> Answer:
    if isinstance(reply, BusUnavailable):
        return reply
    if isinstance(reply, ResponseError):
        return unavailable(reply, clustered=clustered)
    id_, outcome, gateways = reply
    if outcome == _KEY_REUSED:
        return IdempotencyKeyReused(int(id_))
    return Published(int(id_), outcome == _DUPLICATE, gateways)
