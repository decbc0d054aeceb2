"""The key for recoveries of Socket.IO, which all pods of a namespace share through Redis.

The first pod makes it. A Redis that has lost it gets it back from a pod that knows it.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final, Protocol

from clarion_contract.bus.bus import ScriptingBus
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.keyspace import Keyspace

_KEY_BYTES: Final = 32
_AGAIN_SECONDS: Final = 1.0
_RENEW_SECONDS: Final = 30.0


class HasKey(Protocol):
    """The part of `clarion_gateway.wire.socketio.recovery.Recovery` that gets the key."""

    key: bytes | None


class RecoveryKey:
    """Keeps a pod's key the one that is in Redis."""

    def __init__(self, bus: ScriptingBus, keyspace: Keyspace, holder: HasKey) -> None:
        self._bus = bus
        self._name = keyspace.recovery_key
        self._holder = holder

    async def run(self) -> None:
        """Look again and again."""
        while True:
            try:
                await self.load()
            except BusUnavailable:
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                await asyncio.sleep(_RENEW_SECONDS)

    async def load(self) -> None:
        """Take the key from Redis, or put one there.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        own = self._holder.key or secrets.token_bytes(_KEY_BYTES)
        await self._bus.command("SET", self._name, own.hex(), "NX")
        kept = await self._bus.command("GET", self._name)
        if kept is not None:  # Redis may have lost it in between
            self._holder.key = bytes.fromhex(kept.decode())
