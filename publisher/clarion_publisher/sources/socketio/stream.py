"""The lease of the one reader, and the producers' stream, in the producers' Redis."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from redis.exceptions import ResponseError

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.faults import unavailable
from clarion_contract.redis.server import Call, Script
from clarion_publisher.sources.socketio.cluster_messages import read_entry
from clarion_publisher.sources.socketio.intake import Taken
from clarion_publisher.sources.socketio.message import STREAM, TOO_LARGE, Content, Unreadable

LEASE_SECONDS: Final = 5.0
"""A publisher stays the reader so long without a word. Another one goes on after that."""

_FORGET_SECONDS: Final = 7 * 86_400
_BATCH_BYTES: Final = 4 << 20


class Redis(Protocol):
    """The part of `clarion_contract.redis.server.RedisServer` and of a cluster that is used."""

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """See `clarion_contract.redis.server.RedisServer.run`."""

    async def command(self, *command: str | bytes | int) -> Any:  # noqa: ANN401 - as Redis has it
        """See `clarion_contract.redis.server.RedisServer.command`."""

    async def aclose(self) -> None:
        """Close every connection."""


@dataclass(frozen=True, slots=True)
class Look:
    """The entries of a look.

    Attributes:
        messages: to hand in.
        entries: read, those between servers included.
        last: id of the last entry; None: there was none.
        lost: entries that were trimmed before anybody read them.
        lag_seconds: age of the first entry.
    """

    messages: Sequence[Taken]
    entries: int
    last: str | None
    lost: int
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one look.

    Attributes:
        entries: at most.
        entry_bytes: larger entries are refused, and not read.
    """

    entries: int
    entry_bytes: int


class Lease:
    """The right to read; one publisher has it at any moment.

    Keys of one hash slot: on a cluster they lie beside the stream.
    """

    def __init__(
        self,
        redis: Redis,
        stream: str,
        namespace: str,
        bounds: Bounds,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up.

        Args:
            stream: the key of the producers' stream.
            namespace: of this installation: several may read the same stream.
        """
        self._redis = redis
        self._stream = stream
        tag = stream if _has_tag(stream) else f"{{{stream}}}"
        self._keys = (f"{namespace}:socketio:{tag}:reader", f"{namespace}:socketio:{tag}:position")
        self._bounds = bounds
        self._clock = clock
        self._holder = secrets.token_urlsafe(12)
        self._script = Script("look.lua", package=__package__)
        self._until = 0.0
        self._done = ("", 0)
        self._known = ""

    @property
    def held(self) -> bool:
        """Whether this publisher is the reader: until then at least, no other one is."""
        return self._clock() < self._until

    async def keep(self) -> bool:
        """Take the lease or keep it; returns whether this publisher has it.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        return await self._look(LEASE_SECONDS, 0) is not None

    async def look(self) -> Look | None:
        """The next entries; None: another publisher is the reader.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        reply = await self._look(LEASE_SECONDS, self._bounds.entries)
        if reply is None:
            return None
        _, position, lost, now, entries = reply
        self._known = position.decode()
        ids = [entry[0].decode() for entry in entries]
        messages = [self._message(id_, entry[1]) for id_, entry in zip(ids, entries, strict=True)]
        lag = max(0, now - int(ids[0].partition("-")[0])) / 1_000 if ids else 0.0
        return Look(
            [message for message in messages if message is not None],
            len(ids),
            ids[-1] if ids else None,
            lost,
            lag,
        )

    def done(self, look: Look) -> None:
        """Note that the messages of a look are done. The next look tells Redis."""
        if look.last is not None:
            self._done = (look.last, look.entries)

    async def resign(self) -> None:
        """Give the lease up.

        Raises:
            BusUnavailable: Redis does not answer. The lease ends by itself.
        """
        self._until = 0.0
        await self._look(0, 0)

    async def forget(self) -> None:
        """Delete the position in the stream.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        _, position = self._keys
        await self._redis.command("DEL", position)

    async def _look(self, seconds: float, entries: int) -> Any | None:  # noqa: ANN401
        asked, done = self._clock(), self._done
        arguments = (self._holder, round(seconds * 1_000), *done, done[0] or self._known, entries)
        limits = (_BATCH_BYTES, self._bounds.entry_bytes, _FORGET_SECONDS)
        call = (3, *self._keys, self._stream, *arguments, *limits)
        (reply,) = await self._redis.run(self._script, [call])
        if isinstance(reply, BusUnavailable):
            raise reply
        if isinstance(reply, ResponseError):
            raise unavailable(reply) from reply
        if self._done == done:  # Redis has noted it, or somebody else reads
            self._known = done[0] or self._known
            self._done = ("", 0)
        if not reply[0]:
            self._until = 0.0
            return None
        self._until = asked + seconds
        return reply

    def _message(self, id_: str, content: Sequence[bytes] | int) -> Taken | None:
        milliseconds, _, _ = id_.partition("-")
        read = self._content(content)
        if read is None:
            return None
        key = f"\0socketio:{self._stream}:{id_}"
        return Taken(STREAM, key, int(milliseconds) / 1_000, read)

    def _content(self, fields: Sequence[bytes] | int) -> Content | Unreadable | None:
        if isinstance(fields, int):
            most = self._bounds.entry_bytes
            return Unreadable(TOO_LARGE, f"expected at most {most} bytes, got {fields}")
        try:
            return read_entry(dict(zip(fields[::2], fields[1::2], strict=True)))
        except Unreadable as unreadable:
            return unreadable


def _has_tag(key: str) -> bool:
    """Whether Redis hashes only a part of a key, which stands in braces."""
    _, _, rest = key.partition("{")
    return rest.find("}") > 0
