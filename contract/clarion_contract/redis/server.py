"""Runs Lua scripts on one Redis server: many calls in one pipeline.

`clarion_contract.bus.bus` calls this module, which uses a pool of connections. Redis' errors become
`BusUnavailable`, or stand as the answer to the one call that they concern.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from clarion_contract.events.errors import BusUnavailable, BusUnreachable
from clarion_contract.redis.connections import COMMAND_TIMEOUT_SECONDS
from clarion_contract.redis.faults import unavailable, unreachable
from clarion_contract.redis.pool import CheckedPool
from clarion_contract.redis.replies import read_replies

Call = tuple[str | bytes | int, ...]
"""A command, or the arguments of EVALSHA after the script: number of keys, keys, arguments."""


class Script:
    """A Lua script and the SHA-1 by which Redis caches it.

    Args:
        names: files that make one script in this order; the first ones hold functions.
        package: holds the files.
    """

    def __init__(self, *names: str, package: str = "clarion_contract.bus") -> None:
        folder = resources.files(package)
        self.text = "\n".join(folder.joinpath(name).read_text() for name in names)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Replication:
    """The number of replicas that must have a copy before a call counts as answered.

    Attributes:
        replicas: that must confirm a copy; 0: none.
        seconds: how long to wait for them.
    """

    replicas: int = 0
    seconds: float = 1.0


NO_REPLICAS: Final = Replication()


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry that a server's data must hold, or else the server's answers are not used.

    Attributes:
        key: of a Redis stream.
        entry: the id of one of its entries.
    """

    key: str
    entry: str

    @property
    def command(self) -> Call:
        """The command that finds the entry."""
        return ("XRANGE", self.key, self.entry, self.entry)


class FormerPrimary(BusUnavailable):
    """A server without the proof answered: another one has replaced it, or it has lost data."""


class NotReplicated(BusUnavailable):
    """The call ran, but too few replicas have confirmed it in time: a failover may lose it."""


class RedisServer:
    """One server: a fixed one, the primary at the time of connecting, or a node of a cluster."""

    def __init__(self, pool: CheckedPool) -> None:
        self._pool = pool
        self._failures = 0

    async def run(
        self,
        script: Script,
        calls: Sequence[Call],
        replication: Replication = NO_REPLICAS,
        *,
        asking: bool = False,
        proofs: Sequence[Proof] = (),
    ) -> list[Any]:
        """Run each call with EVALSHA in one pipeline; load the script if Redis does not know it.

        A call that failed has its `ResponseError` in place of its reply. If too few replicas
        confirm, every reply is a `NotReplicated`.

        Args:
            asking: the keys are moving to this node of a cluster.
            proofs: the calls only read, and the server that answers them must hold all of these.

        Raises:
            BusUnreachable: there was no connection; none of the calls ran.
            FormerPrimary: a server without the proofs answered, on a new connection too.
            BusUnavailable: Redis did not answer. Each of the calls ran completely or not at all.
        """
        if not calls:  # asyncio's transport of Python 3.13.5 never ends a write of no bytes
            return []
        try:
            return await self._run(script, calls, replication, asking=asking, proofs=proofs)
        except FormerPrimary:  # on a connection that was open; those left over are closed by now
            return await self._run(script, calls, replication, asking=asking, proofs=proofs)

    async def _run(
        self,
        script: Script,
        calls: Sequence[Call],
        replication: Replication,
        *,
        asking: bool,
        proofs: Sequence[Proof],
    ) -> list[Any]:
        async with self._failing():
            replies = await self._evaluate(script, calls, replication, asking=asking, proofs=proofs)
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                # Redis was restarted. None of these calls ran, so running them now keeps their
                # order.
                left = [calls[i] for i in unknown]
                again = await self._evaluate_anew(
                    script, left, replication, asking=asking, proofs=proofs
                )
                for i, reply in zip(unknown, again, strict=True):
                    replies[i] = reply
        return replies

    async def command(self, *command: str | bytes | int, proofs: Sequence[Proof] = ()) -> Any:  # noqa: ANN401 - as Redis has it
        """Redis' answer to one command.

        Args:
            proofs: as in `run`.

        Raises:
            FormerPrimary: as in `run`.
            BusUnavailable: Redis did not answer, or answered with an error.
        """
        try:
            async with self._failing():
                return await self._answer(command, proofs)
        except FormerPrimary:
            async with self._failing():
                return await self._answer(command, proofs)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    @contextlib.asynccontextmanager
    async def _failing(self) -> AsyncIterator[None]:
        try:
            yield
        except (
            RedisError,
            OSError,
            asyncio.IncompleteReadError,
            BusUnreachable,
            FormerPrimary,
        ) as error:
            # The other connections lead to the same dead server. The next callers must not wait for
            # a timeout each, nor be answered by it when it wakes up after another has replaced it.
            self._failures += 1  # closes those in use when they have been used
            await self._pool.disconnect_idle()
            if isinstance(error, BusUnavailable):
                raise
            raise unavailable(error, clustered=True) from error

    async def _answer(self, command: Call, proofs: Sequence[Proof] = ()) -> Any:  # noqa: ANN401
        commands = [command, *(proof.command for proof in proofs)]
        reply, *found = await self._pipeline([_pack(each) for each in commands])
        _check(found)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def _evaluate(
        self,
        script: Script,
        calls: Sequence[Call],
        replication: Replication,
        *,
        asking: bool,
        proofs: Sequence[Proof],
    ) -> list[Any]:
        commands = [_pack(("EVALSHA", script.sha, *call)) for call in calls]
        if asking:
            commands = [each for command in commands for each in (_ASKING, command)]
        wanted = replication.replicas
        if wanted:
            # One WAIT for all calls: it covers everything written earlier on this connection.
            commands.append(_pack(("WAIT", wanted, round(replication.seconds * 1_000))))
        # On the same connection, so that the server that holds them is the one that answers.
        replies = await self._pipeline([_pack(proof.command) for proof in proofs] + commands)
        _check(replies[: len(proofs)])
        del replies[: len(proofs)]
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
        self,
        script: Script,
        calls: Sequence[Call],
        replication: Replication,
        *,
        asking: bool,
        proofs: Sequence[Proof],
    ) -> list[Any]:
        try:
            await self._answer(("SCRIPT", "LOAD", script.text))
            return await self._evaluate(script, calls, replication, asking=asking, proofs=proofs)
        except BusUnreachable as error:
            # None of these calls ran, but others of the same pipeline may have.
            raise BusUnavailable(str(error), error.fault) from error

    async def _connection(self) -> AbstractConnection:
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                connection = await self._pool.get_connection()
        except (RedisError, OSError) as error:
            raise unreachable(error) from error
        return connection

    async def _pipeline(self, commands: Sequence[bytes]) -> list[Any]:
        """Send all commands in one write and read as many replies.

        Uses a pooled connection directly: redis-py's `Pipeline` costs 45 µs per command, this
        code 13 to 15 (docs/decisions/0003-publish-pipeline.md).
        """
        connection = await self._connection()
        failures = self._failures
        replies: list[Any] = []
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                await connection.send_packed_command(b"".join(commands))
                await read_replies(connection, len(commands), replies)
        finally:
            # Unread replies, also after a cancellation, would reach the connection's next user.
            if (
                len(replies) < len(commands)
                or failures < self._failures
                or any(_may_be_replaced(reply) for reply in replies)
            ):
                await connection.disconnect(nowait=True)
            await self._pool.release(connection)
        return replies


def _may_be_replaced(reply: object) -> bool:
    """Whether only a primary that another one may have replaced answers so.

    It has become a replica, or its replicas have left it. By now its name may lead to the new one.
    """
    return isinstance(reply, ReadOnlyError) or (
        isinstance(reply, ResponseError) and str(reply).startswith("NOREPLICAS")
    )


def _check(found: Sequence[Any]) -> None:
    """Raise unless every proof was found."""
    for entries in found:
        if isinstance(entries, AskError) and not isinstance(entries, MovedError):
            continue  # its slot is moving away from this node of a cluster
        if isinstance(entries, ResponseError):
            raise entries
        if not entries:
            raise FormerPrimary("a former primary answered, or one that has lost data")


def _pack(command: Call) -> bytes:
    packed: bytes = pack_command(command)  # type: ignore[arg-type]  # see its stub
    return packed


_ASKING: Final = _pack(("ASKING",))
