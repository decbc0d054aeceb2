"""Running Lua scripts on one Redis server: many calls in one pipeline.

Stands between `clarion_contract.bus.bus` and a pool of connections. Redis' errors leave as
`BusUnavailable`, or as the answer to the one call that they concern.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from clarion_contract.events.errors import BusUnavailable, BusUnreachable
from clarion_contract.redis.connections import COMMAND_TIMEOUT_SECONDS

Call = tuple[str | bytes | int, ...]
"""A command, or what follows the script in EVALSHA: how many keys, the keys, the arguments."""


class Script:
    """A Lua script of `clarion_contract.bus` and the SHA-1 by which Redis caches it."""

    def __init__(self, name: str) -> None:
        self.text = resources.files("clarion_contract.bus").joinpath(name).read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Replication:
    """What must have been copied before a call counts as answered.

    Attributes:
        replicas: that must have it; 0: none.
        seconds: to wait for them.
    """

    replicas: int = 0
    seconds: float = 1.0


NO_REPLICAS: Final = Replication()


class NotReplicated(BusUnavailable):
    """The call ran, but too few replicas have confirmed it in time: a failover may lose it."""


class RedisServer:
    """One server: a fixed one, whichever is the primary when a connection is made, or a node."""

    def __init__(self, pool: BlockingConnectionPool) -> None:
        self._pool = pool

    async def run(
        self,
        script: Script,
        calls: Sequence[Call],
        replication: Replication = NO_REPLICAS,
        *,
        asking: bool = False,
    ) -> list[Any]:
        """EVALSHA each call in one pipeline; load the script where Redis does not know it.

        A `ResponseError` that a call got stands in the place of its reply; so does `NotReplicated`,
        in the place of all of them.

        Args:
            asking: the keys are on their way to this node of a cluster.

        Raises:
            BusUnreachable: there was no connection; none of the calls ran.
            BusUnavailable: no answer. Each of the calls ran whole or not at all.
        """
        async with self._failing():
            replies = await self._evaluate(script, calls, replication, asking=asking)
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                # A restarted Redis. None of these ran, so running them now keeps their order.
                left = [calls[i] for i in unknown]
                again = await self._evaluate_anew(script, left, replication, asking=asking)
                for i, reply in zip(unknown, again, strict=True):
                    replies[i] = reply
        return replies

    async def command(self, *command: str | bytes | int) -> Any:  # noqa: ANN401 - as Redis has it
        """Redis' answer to one command.

        Raises:
            BusUnavailable: no answer, or an error.
        """
        async with self._failing():
            return await self._answer(command)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    @contextlib.asynccontextmanager
    async def _failing(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError, asyncio.IncompleteReadError, BusUnreachable) as error:
            # What else leads to a server that has died or hangs costs nobody a timeout of his own.
            await self._pool.disconnect(inuse_connections=False)
            if isinstance(error, BusUnreachable):
                raise
            raise BusUnavailable(one_line(error)) from error

    async def _answer(self, command: Call) -> Any:  # noqa: ANN401
        (reply,) = await self._pipeline([_pack(command)])
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def _evaluate(
        self, script: Script, calls: Sequence[Call], replication: Replication, *, asking: bool
    ) -> list[Any]:
        commands = [_pack(("EVALSHA", script.sha, *call)) for call in calls]
        if asking:
            commands = [each for command in commands for each in (_ASKING, command)]
        wanted = replication.replicas
        if wanted:
            # One for all: it waits for everything that this connection has written before.
            commands.append(_pack(("WAIT", wanted, round(replication.seconds * 1_000))))
        replies = await self._pipeline(commands)
        confirmed = replies.pop() if wanted else wanted
        if asking:
            del replies[::2]
        if isinstance(confirmed, ResponseError):
            raise confirmed
        if confirmed < wanted:
            failure = f"{confirmed} of {wanted} replicas have it"
            replies = [
                reply if isinstance(reply, ResponseError) else NotReplicated(failure)
                for reply in replies
            ]
        return replies

    async def _evaluate_anew(
        self, script: Script, calls: Sequence[Call], replication: Replication, *, asking: bool
    ) -> list[Any]:
        try:
            await self._answer(("SCRIPT", "LOAD", script.text))
            return await self._evaluate(script, calls, replication, asking=asking)
        except BusUnreachable as error:
            # None of these ran, but others of the same pipeline may have.
            raise BusUnavailable(str(error)) from error

    async def _connection(self) -> AbstractConnection:
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                connection: AbstractConnection = await self._pool.get_connection()
        except (RedisError, OSError) as error:
            raise BusUnreachable(one_line(error)) from error
        return connection

    async def _pipeline(self, commands: Sequence[bytes]) -> list[Any]:
        """Send all commands in one write and read as many replies.

        Works on a pooled connection itself: redis-py's `Pipeline` costs 45 µs a command where this
        costs 13 to 15 (docs/decisions/0003-publish-pipeline.md).
        """
        connection = await self._connection()
        replies: list[Any] = []
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                await connection.send_packed_command(b"".join(commands))
                for _ in commands:
                    replies.append(await _reply(connection))
        finally:
            # Replies left unread, also when cancelled, would reach the next user. And a primary
            # that became a replica must be left: its name may lead to the new primary by now.
            if len(replies) < len(commands) or any(isinstance(r, ReadOnlyError) for r in replies):
                await connection.disconnect(nowait=True)
            await self._pool.release(connection)
        return replies


def one_line(error: BaseException) -> str:
    """An error as a log and a caller may see it."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _pack(command: Call) -> bytes:
    packed: bytes = pack_command(command)  # type: ignore[arg-type]  # see its stub
    return packed


_ASKING: Final = _pack(("ASKING",))


async def _reply(connection: AbstractConnection) -> object:
    try:
        return await connection.read_response(timeout=math.inf, disconnect_on_error=False)
    except ResponseError as error:
        return error
