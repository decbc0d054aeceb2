"""The connected users and their pods. Gateways write them to Redis; both services read them.

Redis holds two things:

- one hash of the pods that are alive. Each pod renews its entry by its heartbeat.
- one hash for each user, with the number of connections that the user has to each pod.

An entry of a pod counts as long as the pod is alive, so nothing has to be undone when a pod dies.
A pod that was forgotten (it was silent for too long, or Redis came up empty) begins again under a
higher number. Its entries under the old number never count again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from clarion_contract.bus.bus import ScriptingBus
from clarion_contract.events.audience import user_audience
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.server import Call, Script

# Redis forgets a user this long after the last write, which matters when the user's pod has died.
# Live pods write again in time.
PRESENCE_SECONDS: Final = 6 * 3_600


class PodLoad(msgspec.Struct, frozen=True):
    """A pod's description of itself.

    Attributes:
        users: number of users with a connection to the pod.
        ready: whether the pod takes new clients.
        mark: names the process in the ids of sessions; empty: it has none.
        address: at which other gateways reach it, as ``ip:port``; empty: they cannot.
    """

    anonymous: int
    authenticated: int
    users: int
    ready: bool = True
    mark: str = ""
    address: str = ""

    @property
    def connections(self) -> int:
        """Connections of users and of anonymous clients."""
        return self.anonymous + self.authenticated


@dataclass(frozen=True, slots=True)
class Pods:
    """The gateway pods that are alive.

    Attributes:
        name: the name of the pod that asked from now on, ``<pod>:<number>``. None: Redis has
            forgotten the pod, or the caller only asked.
        last_number: the last number that was given to a pod.
        loads: by name.
    """

    name: str | None
    last_number: int
    loads: Mapping[str, PodLoad]

    @property
    def own_load(self) -> PodLoad | None:
        """The load of the pod that asked; None: Redis forgot the pod, or the caller only asked."""
        return None if self.name is None else self.loads.get(self.name)

    def is_gone(self, name: str) -> bool:
        """Whether that pod is gone for good. False for a pod too new to be known here."""
        return name not in self.loads and int(name.rpartition(":")[2]) <= self.last_number


@dataclass(frozen=True, slots=True)
class PresenceEntry:
    """A user's connections to one pod.

    Attributes:
        since: when the first of them began after a time without any, seconds since the epoch.
    """

    connections: int
    since: float


NO_PODS: Final = Pods(None, 0, {})

_NONE: Final = PresenceEntry(0, 0)


class PresenceRegister:
    """The presence of one namespace in Redis. Every method may raise `BusUnavailable`."""

    def __init__(self, bus: ScriptingBus, keyspace: Keyspace) -> None:
        self._bus = bus
        self._keys = keyspace
        self._heartbeat = Script("heartbeat.lua")
        self._presence = Script("presence.lua")

    async def begin(
        self, pod: str, load: PodLoad, *, timeout_seconds: float, again: bool = False
    ) -> Pods:
        """Register a pod under a new number.

        Args:
            again: the process was registered before. If not, entries under its pod's name are those
                of a process that died, and become void. If it was, they are those of another
                process that lives.
        """
        return await self._beat(pod, load, timeout_seconds, begin=2 if again else 1)

    async def beat(self, name: str, load: PodLoad, *, timeout_seconds: float) -> Pods:
        """Report that a pod is alive; without another beat it counts as gone after the timeout."""
        return await self._beat(name, load, timeout_seconds)

    async def leave(self, name: str) -> None:
        """Forget a pod, and with it all that it has written."""
        await self._bus.command("HDEL", self._keys.pods, name)

    async def pods(self) -> Pods:
        """The pods that are alive."""
        return await self._beat("", None, 0)

    async def write(
        self, name: str, entries: Sequence[tuple[str, PresenceEntry]]
    ) -> list[dict[str, PresenceEntry]]:
        """Store how many connections users have to a pod, in one pipeline.

        Args:
            entries: by user. An entry without connections: the user has left the pod.

        Returns:
            For each user the entries at other pods, by the pods' names. They may include pods that
            are gone. Empty for a user that has left.
        """
        calls = [self._call(user, name, entry) for user, entry in entries]
        return [_entries(_pairs(fields)) for fields in await self._bus.run(self._presence, calls)]

    async def forget(self, entries: Iterable[tuple[str, str]]) -> None:
        """Remove entries at pods that are gone, given as pairs of user and pod name."""
        calls = [self._call(user, name, _NONE) for user, name in entries]
        if calls:
            await self._bus.run(self._presence, calls)

    async def user(self, user: str) -> dict[str, PresenceEntry]:
        """A user's entries at the pods that are alive, by the pods' names."""
        fields = await self._bus.command("HGETALL", self._key(user))
        # RESP3 has a type for maps, RESP2 a list.
        entries = _entries(fields.items() if isinstance(fields, dict) else _pairs(fields))
        if not entries:
            return {}
        # Read the pods second: a pod registers before it writes entries.
        there = (await self.pods()).loads
        return {name: entry for name, entry in entries.items() if name in there}

    async def users(self, users: Sequence[str]) -> list[dict[str, PresenceEntry]]:
        """The entries of users, in one pipeline, also those at pods that are gone.

        Ask for `pods` afterwards: a pod registers before it writes entries.
        """
        if not users:
            return []
        calls = [self._call(user, "", _NONE) for user in users]
        return [_entries(_pairs(fields)) for fields in await self._bus.run(self._presence, calls)]

    async def _beat(
        self, name: str, load: PodLoad | None, timeout_seconds: float, *, begin: int = 0
    ) -> Pods:
        text = b"" if load is None else msgspec.json.encode(load)
        milliseconds = round(timeout_seconds * 1_000)
        arguments = (1, self._keys.pods, name, begin, milliseconds, text)
        ((named, number, pairs),) = await self._bus.run(self._heartbeat, [arguments])
        loads = {
            pod.decode(): msgspec.json.decode(said, type=PodLoad) for pod, said in _pairs(pairs)
        }
        return Pods(named.decode() or None, int(number), loads)

    def _call(self, user: str, name: str, entry: PresenceEntry) -> Call:
        since = f"{entry.since:.3f}"
        return (1, self._key(user), name, entry.connections, since, PRESENCE_SECONDS)

    def _key(self, user: str) -> str:
        return self._keys.presence(user_audience(user).stream)


def pod_of(name: str) -> str:
    """The pod's own name in ``<pod>:<number>``."""
    return name.rpartition(":")[0]


def _pairs(fields: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(fields[::2], fields[1::2], strict=True)


def _entries(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, PresenceEntry]:
    entries = {}
    for name, text in fields:
        connections, _, since = text.partition(b" ")
        entries[name.decode()] = PresenceEntry(int(connections), float(since))
    return entries
