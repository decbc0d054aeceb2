"""Tells Redis which users are connected to this pod, and enforces the connection limit per user.

The hub reports users whose connections have changed. Changes are gathered for 50 ms and written
together. So no handshake waits for Redis, and an idle connection costs nothing. Redis answers with
each user's connections on all pods. If they exceed the limit, each pod closes its newest ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from clarion_contract.bus.presence import NO_PODS, PRESENCE_SECONDS, PodLoad, Pods, PresenceEntry
from clarion_contract.events.errors import BusUnavailable
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection
from clarion_gateway.connections.hub import Hub
from clarion_gateway.fleet.namesakes import Namesakes
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings

# How long changes are gathered. A pipeline of few commands costs twice the CPU of its commands.
# When many users log in at once, so long a time makes pipelines of about a hundred.
_GATHER_SECONDS: Final = 0.05
# Keeps the event loop busy for a few ms at most. More users wait for the next write.
_USERS_PER_WRITE: Final = 500
_RETRY_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class Register(Protocol):
    """The part of `clarion_contract.bus.presence.PresenceRegister` that the pod uses."""

    async def begin(
        self, pod: str, load: PodLoad, *, timeout_seconds: float, again: bool = False
    ) -> Pods:
        """See `clarion_contract.bus.presence.PresenceRegister.begin`."""
        ...

    async def beat(self, name: str, load: PodLoad, *, timeout_seconds: float) -> Pods:
        """See `clarion_contract.bus.presence.PresenceRegister.beat`."""
        ...

    async def leave(self, name: str) -> None:
        """See `clarion_contract.bus.presence.PresenceRegister.leave`."""
        ...

    async def pods(self) -> Pods:
        """See `clarion_contract.bus.presence.PresenceRegister.pods`."""
        ...

    async def write(
        self, name: str, entries: Sequence[tuple[str, PresenceEntry]]
    ) -> list[dict[str, PresenceEntry]]:
        """See `clarion_contract.bus.presence.PresenceRegister.write`."""
        ...

    async def forget(self, entries: Iterable[tuple[str, str]]) -> None:
        """See `clarion_contract.bus.presence.PresenceRegister.forget`."""
        ...


Note = Callable[[str, Sequence[tuple[str, bool]]], Awaitable[None]]


@dataclass(slots=True)
class _Written:
    """The presence entry that was last written of a user on this pod.

    Attributes:
        at: when it was written, in seconds of the monotonic clock.
    """

    entry: PresenceEntry
    at: float


class Presence:
    """Keeps the presence entries of this pod's users in Redis up to date.

    Args:
        ready: returns whether the pod takes new clients.
        mark: returns the mark; see `clarion_contract.bus.presence.PodLoad`.
        address: see there.
        note: called after each write with the pod's name and the users of the write, each with
            whether it is connected to the pod; None: nobody needs to know.
    """

    def __init__(
        self,
        register: Register,
        hub: Hub,
        metrics: Metrics,
        settings: GatewaySettings,
        ready: Callable[[], bool],
        *,
        mark: Callable[[], str] = str,
        address: str = "",
        clock: Callable[[], float] = time.time,
        note: Note | None = None,
    ) -> None:
        self._note_users = note
        self._register = register
        self._hub = hub
        self._metrics = metrics
        self._pod = settings.pod
        self._ready = ready
        self._mark = mark
        self._address = address
        self._timeout_seconds = settings.heartbeat_seconds
        self._beat_seconds = settings.beat_seconds
        self._max_connections = settings.max_connections_per_user
        self._max_pending = settings.max_connections
        self._clock = clock
        self._pods = NO_PODS
        self._beaten_at = -math.inf
        self._begun = False
        # A name whose entries must not count any more, but may still be in Redis.
        self._given_up: str | None = None
        self.namesakes = Namesakes(settings.pod)
        self._leaving = False
        self._named = asyncio.Event()
        self._lost_sight = asyncio.Event()
        # The users whose connections have changed since their entries were written.
        self._changed: dict[str, None] = {}
        self._arrived = asyncio.Event()
        # The entries that were written, by user, the oldest first.
        self._written: dict[str, _Written] = {}

    @property
    def pending(self) -> int:
        """The number of users whose changes have not been written to Redis yet."""
        return len(self._changed)

    @property
    def pods(self) -> Pods:
        """The pods as of the last heartbeat; `NO_PODS` if that is too long ago."""
        fresh = time.monotonic() - self._beaten_at < self._timeout_seconds
        return self._pods if fresh else NO_PODS

    def changed(self, user: str) -> None:
        """Note that a connection of the user has come or gone."""
        self._changed[user] = None
        self._arrived.set()

    def renew(self) -> None:
        """Write everything anew: Redis was away for a while, and may have lost entries."""
        self._lost_sight.set()

    async def run(self) -> None:
        """Send heartbeats and write changes, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._for_ever(self._beat_and_wait))
            group.create_task(self._for_ever(self._gather_and_write))

    async def leave(self) -> None:
        """Withdraw everything about this pod from Redis, since the pod ends."""
        self._leaving = True  # so that a heartbeat under way does not make the pod known again
        name = self._pods.name
        if name is None:
            return
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                while self._changed:
                    await self._write(name)
                await self._register.leave(name)
        except (BusUnavailable, TimeoutError) as error:
            _log.warning("presence not withdrawn; it ends by itself", error=str(error))

    async def _for_ever(self, step: Callable[[], Awaitable[None]]) -> None:
        failing = False
        while not self._leaving:
            try:
                await step()
                failing = False
            except BusUnavailable as error:
                self._metrics.presence_writes.labels("failed").inc()
                if not failing:  # log the first failure only, not one a second
                    _log.warning("presence not written", error=str(error), users=self.pending)
                failing = True
                self._bound()
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:  # noqa: BLE001 - the edge: the pod goes on delivering
                _log.exception("presence failed")
                await asyncio.sleep(_RETRY_SECONDS)

    def _bound(self) -> None:
        """Bound the users to write by the number of possible connections.

        Many users may come and go while Redis cannot be written to. Past the bound, the pod gives
        up its name. Entries under the old name no longer count, so only the users who are here
        have to be written.
        """
        if len(self._changed) <= self._max_pending:
            return
        self._named.clear()
        self._given_up = self._given_up or self._pods.name
        self._pods = replace(self._pods, name=None)
        self._changed.clear()
        self._written = {
            user: written for user, written in self._written.items() if user in self._hub.users
        }

    async def _beat_and_wait(self) -> None:
        renewed = self._lost_sight.is_set()
        self._lost_sight.clear()
        try:
            await self._beat(renewed=renewed)
        except BusUnavailable:
            if renewed:
                self._lost_sight.set()
            raise
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._beat_seconds):
                await self._lost_sight.wait()

    async def _beat(self, *, renewed: bool) -> None:
        name, load = self._pods.name, self._load()
        if name is not None:
            pods = await self._register.beat(name, load, timeout_seconds=self._timeout_seconds)
            if pods.name is None:
                _log.warning("Redis has forgotten the pod; it begins anew", name=name)
            # None also if the name was given up meanwhile: see `_bound`.
            name = pods.name and self._pods.name
        if name is None:
            if self._leaving:
                return
            if self._given_up is not None:
                await self._register.leave(self._given_up)
                self._given_up = None
            pods = await self._register.begin(
                self._pod, load, timeout_seconds=self._timeout_seconds, again=self._begun
            )
            self._begun = True
            renewed = True
        self._pods, self._beaten_at = pods, time.monotonic()
        self.namesakes.note(pods)
        self._named.set()
        if renewed:
            self._change(self._hub.users)
        self._change(self._old())

    def _old(self) -> list[str]:
        """The users whose entries must be written again before Redis lets them expire."""
        before = time.monotonic() - PRESENCE_SECONDS / 2
        written = itertools.takewhile(lambda each: each[1].at < before, self._written.items())
        return [user for user, _ in written]

    def _change(self, users: Collection[str]) -> None:
        if users:
            self._changed.update(dict.fromkeys(users))
            self._arrived.set()

    def _load(self) -> PodLoad:
        catching_up = sum(each.user is not None for each in self._hub.catching_up)
        live = sum(group.authenticated_members for group in self._hub.groups)
        authenticated = live + catching_up
        anonymous = len(self._hub) - authenticated
        return PodLoad(
            anonymous,
            authenticated,
            len(self._hub.users),
            self._ready(),
            self._mark(),
            self._address,
        )

    async def _gather_and_write(self) -> None:
        await self._named.wait()
        await self._arrived.wait()
        await asyncio.sleep(_GATHER_SECONDS)
        if self._pods.name is not None:
            await self._write(self._pods.name)

    async def _write(self, name: str) -> None:
        """Write the entries of some changed users, and act on the answer."""
        users = list(itertools.islice(self._changed, _USERS_PER_WRITE))
        for user in users:
            del self._changed[user]
        if not self._changed:
            self._arrived.clear()
        now = self._clock()
        entries = [(user, self._entry(user, now)) for user in users]
        try:
            answers = await self._register.write(name, entries)
            if self._note_users is not None:
                here = [(user, bool(entry.connections)) for user, entry in entries]
                await self._note_users(name, here)
            pods = self._pods
            excesses = list(map(self._excess, entries, answers, itertools.repeat(pods)))
            if any(excesses):
                # A pod may have died since the last heartbeat: no client is closed on its account.
                pods = await self._register.pods()
                excesses = list(map(self._excess, entries, answers, itertools.repeat(pods)))
        except BusUnavailable:
            self._change(users)
            raise
        self._metrics.presence_writes.labels("written").inc()
        gone: list[tuple[str, str]] = []
        for (user, entry), others, excess in zip(entries, answers, excesses, strict=True):
            gone += [(user, other) for other in others if pods.is_gone(other)]
            for connection in self._newest(user, excess):
                connection.close(close_codes.TOO_MANY_CONNECTIONS)
            self._note(user, entry)
        await self._register.forget(gone)

    def _entry(self, user: str, now: float) -> PresenceEntry:
        written = self._written.get(user)
        since = now if written is None else written.entry.since
        return PresenceEntry(len(self._hub.of_user(user)), since)

    def _note(self, user: str, entry: PresenceEntry) -> None:
        self._written.pop(user, None)  # so that it goes to the end: `_old` needs this order
        if entry.connections:
            self._written[user] = _Written(entry, time.monotonic())

    def _excess(
        self, written: tuple[str, PresenceEntry], others: Mapping[str, PresenceEntry], pods: Pods
    ) -> int:
        """The number of a user's connections since the last write that exceed the limit.

        Redis executes the writes of all pods one after the other. So if pods exceed the limit
        together, each closes its own new connections, and the older ones remain.

        Args:
            written: the user and the entry that was written.
            others: the user's entries on other pods, by pod.
        """
        user, entry = written
        before = self._written.get(user)
        new = entry.connections - (before.entry.connections if before else 0)
        left = max(0, entry.connections - len(self._hub.of_user(user)))  # since this was written
        elsewhere = sum(
            there.connections for other, there in others.items() if not pods.is_gone(other)
        )
        return max(0, min(new, entry.connections + elsewhere - self._max_connections - left))

    def _newest(self, user: str, count: int) -> Sequence[Connection]:
        return self._hub.of_user(user)[-count:] if count else ()
