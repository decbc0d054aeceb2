"""Tells the upstream of users that come online and go offline, over all pods.

Every pod notes its users' comings and goings in Redis, with presence. One pod, which holds a lease,
looks at the noted users, logs their transitions in Redis, and tells the upstream of them in batches
and in order. A transition leaves the log once the upstream has taken it. So each is told at least
once, also when a pod dies: users of a dead pod are noted by the holder of the lease, and the work
of a dead holder goes on in another pod.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from clarion_contract.bus.presence import Pods, PresenceEntry
from clarion_contract.bus.transitions import Lead, Transition
from clarion_contract.events.errors import BusUnavailable
from clarion_gateway.metrics.upstream import UpstreamMetrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.upstream.backend import UpstreamFailed

_LEASE_SECONDS: Final = 6.0
_STEP_SECONDS: Final = 0.25
# For the lease of another pod that has ended or died.
_FOLLOW_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_RETRY_MAX_SECONDS: Final = 10.0
_LEAVE_SECONDS: Final = 2.0
_USERS_PER_STEP: Final = 500
_BATCH: Final = 100
# While so many wait for the upstream, no more are logged. Users then wait to be looked at, each of
# them once, and come and go untold meanwhile.
_WAITING_MAX: Final = 10_000

_log = structlog.get_logger(__name__)


class Register(Protocol):
    """The part of `clarion_contract.bus.transitions.TransitionRegister` that the pod uses."""

    async def note(
        self, pod: str, users: Sequence[tuple[str, bool]], *, grace_seconds: float
    ) -> None:
        """See `clarion_contract.bus.transitions.TransitionRegister.note`."""
        ...

    async def bury(self, pod: str, *, grace_seconds: float) -> None:
        """See `clarion_contract.bus.transitions.TransitionRegister.bury`."""
        ...

    async def lead(self, holder: str, *, seconds: float, limit: int) -> Lead | None:
        """See `clarion_contract.bus.transitions.TransitionRegister.lead`."""
        ...

    async def resign(self, holder: str) -> None:
        """See `clarion_contract.bus.transitions.TransitionRegister.resign`."""
        ...

    async def settle(self, holder: str, users: Sequence[tuple[str, bool]]) -> bool:
        """See `clarion_contract.bus.transitions.TransitionRegister.settle`."""
        ...

    async def waiting(self, limit: int) -> list[Transition]:
        """See `clarion_contract.bus.transitions.TransitionRegister.waiting`."""
        ...

    async def told(self, position: int) -> None:
        """See `clarion_contract.bus.transitions.TransitionRegister.told`."""
        ...


class PresenceView(Protocol):
    """The part of `clarion_contract.bus.presence.PresenceRegister` that shows who is connected."""

    async def users(self, users: Sequence[str]) -> list[dict[str, PresenceEntry]]:
        """See `clarion_contract.bus.presence.PresenceRegister.users`."""
        ...

    async def pods(self) -> Pods:
        """See `clarion_contract.bus.presence.PresenceRegister.pods`."""
        ...


class Transitions:
    """A pod's part in telling of users' transitions.

    Attributes:
        waiting: transitions that have not been told; 0 in a pod that does not hold the lease.

    Args:
        tell: hands a batch to the upstream; it returns once the upstream has taken it.
    """

    def __init__(
        self,
        register: Register,
        presence: PresenceView,
        tell: Callable[[Sequence[Transition]], Awaitable[None]],
        metrics: UpstreamMetrics,
        settings: GatewaySettings,
    ) -> None:
        self.waiting = 0
        self._register = register
        self._presence = presence
        self._tell = tell
        self._metrics = metrics
        self._grace_seconds = settings.upstream_offline_seconds
        self._holder = f"{settings.pod}:{uuid.uuid4().hex}"
        self._leading = False
        self._something = asyncio.Event()

    async def note(self, pod: str, users: Sequence[tuple[str, bool]]) -> None:
        """Note users of this pod; see `clarion_gateway.fleet.presence.Presence`.

        Raises:
            BusUnavailable: Redis does not answer; note them again.
        """
        await self._register.note(pod, users, grace_seconds=self._grace_seconds)

    async def run(self) -> None:
        """Hold the lease if it is free, and do what its holder does, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._for_ever(self._lead))
            group.create_task(self._for_ever(self._send))

    async def leave(self) -> None:
        """Leave the lease to another pod, since this one ends."""
        self._lost()
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._register.resign(self._holder)
        except (BusUnavailable, TimeoutError) as error:
            _log.warning("lease not given up; it ends by itself", error=str(error))

    async def _for_ever(self, step: Callable[[], Awaitable[None]]) -> None:
        failing = False
        while True:
            try:
                await step()
                failing = False
            except BusUnavailable as error:
                if not failing:  # log the first failure only, not one a second
                    _log.warning("transitions of users wait for Redis", error=str(error))
                failing = True
                await asyncio.sleep(_RETRY_SECONDS)

    async def _lead(self) -> None:
        limit = _USERS_PER_STEP if self.waiting < _WAITING_MAX else 0
        lead = await self._register.lead(self._holder, seconds=_LEASE_SECONDS, limit=limit)
        if lead is None:
            self._lost()
            await asyncio.sleep(_FOLLOW_SECONDS)
            return
        self._leading = True
        await self._look(lead)
        if len(lead.users) < _USERS_PER_STEP:
            await asyncio.sleep(_STEP_SECONDS)

    async def _look(self, lead: Lead) -> None:
        """Log the transitions of users, and note those of pods that are gone."""
        entries = await self._presence.users(lead.users)
        pods = await self._presence.pods()
        for pod in filter(pods.is_gone, lead.pods):
            await self._register.bury(pod, grace_seconds=self._grace_seconds)
        found = [
            (user, _is_online(there, pods)) for user, there in zip(lead.users, entries, strict=True)
        ]
        self.waiting = lead.waiting
        settled = bool(found) and await self._register.settle(self._holder, found)
        if settled or lead.waiting:
            self._something.set()

    async def _send(self) -> None:
        """Tell of the transitions in the log, until it is empty or the lease is lost."""
        await self._something.wait()
        self._something.clear()
        while self._leading:
            batch = await self._register.waiting(_BATCH)
            if not batch or not await self._told(batch):
                return
            await self._register.told(batch[-1].position)
            self.waiting = max(0, self.waiting - len(batch))
            self._metrics.told(sum(each.online for each in batch), len(batch))

    async def _told(self, batch: Sequence[Transition]) -> bool:
        """Tell of a batch, again and again; False: another pod does."""
        pause = _STEP_SECONDS
        while self._leading:
            try:
                await self._tell(batch)
            except UpstreamFailed:  # it has been logged and counted
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
                pause = min(2 * pause, _RETRY_MAX_SECONDS)
            else:
                return True
        return False

    def _lost(self) -> None:
        self._leading = False
        self.waiting = 0


def _is_online(entries: Mapping[str, PresenceEntry], pods: Pods) -> bool:
    return any(entry.connections and not pods.is_gone(pod) for pod, entry in entries.items())
