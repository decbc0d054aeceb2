"""Runs Lua scripts on a cluster: each call at the node that holds its keys, even after a move.

`RedisCluster` replaces `clarion_contract.redis.server.RedisServer` on a cluster, and has one of
those for each node. It knows which node holds which slots. redis-py's own map is slower, and owns
the connections (docs/decisions/0016-own-code-or-a-library.md). The meaning of keys plays no part
here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    TryAgainError,
)

from clarion_contract.events.errors import BusUnavailable, BusUnreachable
from clarion_contract.redis.backoff import reconnect_delay_seconds
from clarion_contract.redis.connections import COMMAND_TIMEOUT_SECONDS, pool_to
from clarion_contract.redis.keyspace import BUCKET_NAMES
from clarion_contract.redis.server import (
    NO_REPLICAS,
    Call,
    FormerPrimary,
    Proof,
    RedisServer,
    Replication,
    Script,
)
from clarion_contract.redis.topology import Topology, slot_of, topology_of
from clarion_contract.redis.url import Host, RedisUrl

# How long one node may take to report slots, or that it is alive, before the next node is asked.
_ANSWER_SECONDS: Final = 1.0
# How long one node may take to answer a command that any node can answer.
_ANY_SECONDS: Final = 0.3
# Pause between two attempts while a slot is moving or has no node for the moment.
_AGAIN_SECONDS: Final = 0.05
# Longest pause before a node that was gone is asked again: until then its calls fail.
_RECOVERY_SECONDS: Final = 0.5

# A call with such an error did nothing and may succeed elsewhere or later. MovedError is an
# AskError.
_ELSEWHERE_OR_LATER: Final = (AskError, TryAgainError, ClusterDownError)


class RedisCluster:
    """The primaries of a cluster.

    Attributes:
        topology: the last one learned; None: none yet.
    """

    def __init__(self, parsed: RedisUrl) -> None:
        self._parsed = parsed
        self._servers: dict[Host, RedisServer] = {}
        self.topology: Topology | None = None
        self._asked: Host | None = None
        self._learning = asyncio.Lock()
        self._learned = asyncio.Event()
        # Nodes that gave no answer, and for each the task that waits until the node is back.
        self._recoveries: dict[Host, asyncio.Task[None]] = {}

    async def run(
        self,
        script: Script,
        calls: Sequence[Call],
        replication: Replication = NO_REPLICAS,
        *,
        proofs: Sequence[Proof] = (),
    ) -> list[Any]:
        """Run each call with EVALSHA at the node of its first key: one pipeline for each node.

        A call without a reply gets a `ResponseError` or `BusUnavailable` in its place. A node that
        is gone does not affect the calls at other nodes.

        Args:
            proofs: the calls only read. Each node that answers must hold the proofs whose slots
                are its own, and there must be one.

        Raises:
            BusUnreachable: no node can be reached; none of the calls ran.
        """
        replies: list[Any] = [None] * len(calls)
        todo: Sequence[int] = range(len(calls))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + COMMAND_TIMEOUT_SECONDS
        while True:
            topology = self.topology or await self.learn(None)
            pipelines: dict[tuple[Host, bool], list[int]] = {}
            for i in todo:
                try:
                    where = _where(topology, calls[i], replies[i])
                except BusUnavailable as error:
                    replies[i] = ClusterDownError(str(error))
                else:
                    pipelines.setdefault(where, []).append(i)
            await asyncio.gather(
                *(
                    self._run_at(where, script, calls, indices, replies, replication, proofs)
                    for where, indices in pipelines.items()
                )
            )
            todo = [i for i in todo if isinstance(replies[i], _ELSEWHERE_OR_LATER)]
            if not todo or loop.time() > deadline:
                return replies
            await asyncio.sleep(_AGAIN_SECONDS)
            if any(isinstance(replies[i], (MovedError, ClusterDownError)) for i in todo):
                with contextlib.suppress(BusUnavailable):
                    await self.learn(topology)

    async def command(self, *command: str | bytes | int, proofs: Sequence[Proof] = ()) -> Any:  # noqa: ANN401 - as Redis has it
        """The answer to one command, from the node of its first argument, or else from any node.

        Args:
            proofs: as in `run`.

        Raises:
            BusUnavailable: no answer, or an error.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + COMMAND_TIMEOUT_SECONDS
        while True:
            topology = self.topology or await self.learn(None)
            if len(command) == 1:
                return await self._any(topology, command)
            host = topology.primary(slot_of(str(command[1])))
            try:
                theirs = _proofs_of(host, topology, proofs)
                return await self._server(host).command(*command, proofs=theirs)
            except FormerPrimary:  # it does answer
                raise
            except BusUnavailable as error:
                if not isinstance(error.__cause__, _ELSEWHERE_OR_LATER) or loop.time() > deadline:
                    self._recover(host)
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)
            await self.learn(topology)

    async def buckets_apart(self) -> list[str]:
        """One bucket on each primary that holds any.

        Raises:
            BusUnavailable: no node answers, or a bucket has no primary.
        """
        topology = self.topology or await self.learn(None)
        return list(
            {topology.primary(slot_of(f"{{{name}}}")): name for name in BUCKET_NAMES}.values()
        )

    async def learn(self, stale: Topology | None) -> Topology:
        """Ask the nodes, one after the other, for the primary of each slot.

        Args:
            stale: the topology that proved to be old. If another caller has already learned a
                newer one, that one is returned.

        Raises:
            BusUnreachable: no node answers.
        """
        async with self._learning:
            if self.topology is not None and self.topology is not stale:
                return self.topology
            known = self.topology.primaries if self.topology else set()
            healthy = [host for host in known if host not in self._recoveries]
            # Not the same node twice in a row: it may be cut off from the others.
            hosts = dict.fromkeys([*healthy, *self._parsed.nodes])
            failure: Exception | None = None
            for host in sorted(hosts, key=lambda each: each == self._asked):
                try:
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        reply = await self._server(host).command("CLUSTER", "SLOTS")
                except (BusUnavailable, TimeoutError) as error:
                    failure = error
                else:
                    self._asked = host
                    return await self._take(topology_of(reply, host))
            raise BusUnreachable(
                f"no node of the cluster answers: {str(failure) or 'no answer in time'}",
                failure.fault if isinstance(failure, BusUnavailable) else None,
            )

    async def moved_from(self, known: Topology) -> Topology:
        """Return once the topology differs from the known one."""
        while self.topology is None or self.topology == known:
            await self._learned.wait()
        return self.topology

    async def aclose(self) -> None:
        """Close every connection."""
        recoveries = list(self._recoveries.values())
        for task in recoveries:
            task.cancel()
        try:
            await asyncio.gather(*recoveries, return_exceptions=True)
        finally:  # also if it is cancelled itself
            for server in self._servers.values():
                await server.aclose()

    async def _run_at(
        self,
        where: tuple[Host, bool],
        script: Script,
        calls: Sequence[Call],
        indices: Sequence[int],
        replies: list[Any],
        replication: Replication,
        proofs: Sequence[Proof],
    ) -> None:
        host, asking = where
        answers: Sequence[Any]
        try:
            if host in self._recoveries:
                raise BusUnavailable(f"{host[0]}:{host[1]} gave no answer a moment ago")
            # The node that redirected the calls here, without moving the slots yet, had the proofs.
            theirs = () if asking else _proofs_of(host, self.topology, proofs)
            answers = await self._server(host).run(
                script, [calls[i] for i in indices], replication, asking=asking, proofs=theirs
            )
        except BusUnavailable as error:
            if not isinstance(error, FormerPrimary):  # which does answer
                self._recover(host)
            answers = [error.again() for _ in indices]
        for i, answer in zip(indices, answers, strict=True):
            replies[i] = answer

    async def _any(self, topology: Topology, command: Call) -> Any:  # noqa: ANN401
        """The first answer in time from any node; a node that hangs does not fail the cluster."""
        failure: Exception | None = None
        for host in topology.primaries - self._recoveries.keys():
            try:
                async with asyncio.timeout(_ANY_SECONDS):
                    return await self._server(host).command(*command)
            except (BusUnavailable, TimeoutError) as error:
                failure = error
        why = str(failure) or "no answer in time"
        raise BusUnavailable(f"no node of the cluster answers: {why}") from failure

    def _server(self, host: Host) -> RedisServer:
        server = self._servers.get(host)
        if server is None:
            server = self._servers[host] = RedisServer(pool_to(self._parsed, host))
        return server

    async def _take(self, topology: Topology) -> Topology:
        if self.topology is None or topology != self.topology:
            self._learned.set()
            self._learned = asyncio.Event()
        self.topology = topology
        gone = self._servers.keys() - topology.primaries - set(self._parsed.nodes)
        for host in gone:
            await self._servers.pop(host).aclose()
        return topology

    def _recover(self, host: Host) -> None:
        """Stop calling a node until it answers: a node that hangs costs each pipeline 5 s."""
        if host not in self._recoveries:
            task = asyncio.create_task(self._recovered(host))
            self._recoveries[host] = task
            task.add_done_callback(lambda _: self._recoveries.pop(host, None))

    async def _recovered(self, host: Host) -> None:
        """Return when the node answers, or when another node has its slots."""
        for failures in itertools.count():
            with contextlib.suppress(BusUnavailable, TimeoutError):
                topology = await self.learn(self.topology)
                if host not in topology.primaries:
                    return
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._server(host).command("PING")
                return
            await asyncio.sleep(min(reconnect_delay_seconds(failures), _RECOVERY_SECONDS))


def _where(topology: Topology, call: Call, reply: object) -> tuple[Host, bool]:
    """The node for a call, and whether to send ASKING first, given the call's last reply."""
    if isinstance(reply, AskError) and not isinstance(reply, MovedError):
        return reply.node_addr, True
    return topology.primary(slot_of(str(call[1]))), False


def _proofs_of(host: Host, topology: Topology | None, proofs: Sequence[Proof]) -> Sequence[Proof]:
    """The proofs whose slots a node holds.

    Raises:
        FormerPrimary: proofs are wanted, and there is none for this node.
    """
    if not proofs:
        return ()
    theirs = [
        proof for proof in proofs if topology and topology.primary(slot_of(proof.key)) == host
    ]
    if not theirs:
        raise FormerPrimary(f"{host[0]}:{host[1]} is none of the primaries that are subscribed to")
    return theirs
