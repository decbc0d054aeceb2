"""The transitions of users: from offline to online over all pods, and back. They wait in Redis.

`clarion_contract.bus.presence` says who is connected now. Here stands who was told to be. Pods note
users whose connections to them have come or gone. One pod at a time holds a lease: it looks at the
users that are due, and logs a transition for each whose state has changed. A transition stays in
the log until it was told. All keys share a slot, so each step is one script.

A user that has left is looked at after a grace, and by then may be back. Users of a pod that died
are noted by the holder of the lease.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from clarion_contract.bus.bus import ScriptingBus
from clarion_contract.bus.presence import PRESENCE_SECONDS
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.server import Call, Script

# Redis forgets everything if no pod has led for so long: the feature was turned off.
_FORGET_SECONDS: Final = 7 * 86_400
_BURIED_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Transition:
    """A user came online or went offline.

    Attributes:
        position: rises with each transition, in microseconds of Redis' clock or above.
        at: when it was found, seconds since the epoch.
    """

    position: int
    user: str
    online: bool
    at: float


@dataclass(frozen=True, slots=True)
class Lead:
    """The work of the lease's holder.

    Attributes:
        pods: names of pods that have noted users.
        users: to look at.
        waiting: transitions in the log.
    """

    pods: Sequence[str]
    users: Sequence[str]
    waiting: int


class TransitionRegister:
    """The transitions of one namespace in Redis. Every method may raise `BusUnavailable`."""

    def __init__(self, bus: ScriptingBus, keyspace: Keyspace) -> None:
        self._bus = bus
        self._key: Callable[[str], str] = keyspace.transitions
        self._note = Script("transitions_note.lua")
        self._bury = Script("transitions_bury.lua")
        self._lead = Script("transitions_lead.lua")
        self._settle = Script("transitions_settle.lua")

    async def note(
        self, pod: str, users: Sequence[tuple[str, bool]], *, grace_seconds: float
    ) -> None:
        """Note users whose connections to a pod have changed; call it after presence is written.

        Args:
            pod: its name with the number.
            users: each with whether it has a connection to the pod.
            grace_seconds: after which users are looked at that have left.
        """
        keys = self._keys("due", f"users:{pod}", "pods")
        pairs = [text for user, here in users for text in (user, int(here))]
        grace = round(grace_seconds * 1_000)
        await self._bus.run(self._note, [(*keys, pod, grace, PRESENCE_SECONDS, *pairs)])

    async def bury(self, pod: str, *, grace_seconds: float) -> None:
        """Note all users of a pod that is gone."""
        keys = self._keys("due", f"users:{pod}", "pods")
        call = (*keys, pod, round(grace_seconds * 1_000), _BURIED_AT_ONCE)
        while (await self._bus.run(self._bury, [call]))[0]:
            pass

    async def lead(self, holder: str, *, seconds: float, limit: int) -> Lead | None:
        """Take the lease, or keep it; None: another one holds it.

        Args:
            seconds: how long it is held without another call.
            limit: users to look at.
        """
        names = ("lease", "due", "pods", "looking", "online", "log", "position")
        arguments = (holder, round(seconds * 1_000), limit, _FORGET_SECONDS)
        (reply,) = await self._bus.run(self._lead, [(*self._keys(*names), *arguments)])
        if not reply[0]:
            return None
        _, pods, users, waiting = reply
        return Lead([each.decode() for each in pods], [each.decode() for each in users], waiting)

    async def resign(self, holder: str) -> None:
        """Give the lease up, if this one holds it."""
        await self.lead(holder, seconds=0, limit=0)

    async def settle(self, holder: str, users: Sequence[tuple[str, bool]]) -> bool:
        """Log a transition for each user whose state is not what was told.

        Args:
            users: that `lead` named, each with whether it is connected to a pod that is alive.

        Returns:
            Whether it was done. If not, another one holds the lease.
        """
        names = ("lease", "looking", "online", "log", "position")
        pairs = [text for user, online in users for text in (user, int(online))]
        call = (*self._keys(*names), holder, *pairs)
        (count,) = await self._bus.run(self._settle, [call])
        return bool(count >= 0)

    async def waiting(self, limit: int) -> list[Transition]:
        """The first transitions that have not been told."""
        entries = await self._bus.command("ZRANGE", self._key("log"), 0, limit - 1)
        return [_transition(entry.decode()) for entry in entries]

    async def told(self, position: int) -> None:
        """Forget the transitions up to a position."""
        await self._bus.command("ZREMRANGEBYSCORE", self._key("log"), "-inf", position)

    def _keys(self, *names: str) -> Call:
        return (len(names), *[self._key(name) for name in names])


def _transition(text: str) -> Transition:
    position, online, microseconds, user = text.split(" ", 3)
    return Transition(int(position), user, online == "1", int(microseconds) / 1e6)
