"""The topics of connections of Socket.IO, in Redis: a client that recovers has them again.

A client is told nothing that could carry them: its pid is made before it asks for topics, and all
clients share the bytes of events. So Redis holds them for as long as a client may be away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import structlog

from clarion_contract.bus.bus import ScriptingBus
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.server import Script

_log = structlog.get_logger(__name__)

_VALUE_MAX_BYTES: Final = 4_096
# Its client cannot recover, and is told so.
_TOO_LARGE: Final = b"null"

Topics = Mapping[str, bool]
"""Topics by name: whether the client's token granted it, or else the application."""

_decoder: msgspec.json.Decoder[dict[str, bool] | None] = msgspec.json.Decoder(
    dict[str, bool] | None
)


class RecoveryTopics:
    """The topics of connections, by the ids of these. Every method may raise `BusUnavailable`.

    Args:
        seconds: how long Redis keeps them.
    """

    def __init__(self, bus: ScriptingBus, keyspace: Keyspace, *, seconds: int) -> None:
        self._bus = bus
        self._keys = keyspace
        self._seconds = seconds
        self._script = Script("remember.lua")

    async def write(self, topics: Mapping[str, Topics]) -> None:
        """Store all topics of connections, in place of those that Redis holds."""
        calls = [
            (1, self._keys.recovery_topics(connection), _encoded(names), self._seconds)
            for connection, names in topics.items()
        ]
        await self._bus.run(self._script, calls)

    async def read(self, connection: str) -> Topics | None:
        """The topics of a connection; None: Redis has forgotten them, or there were too many."""
        value = await self._bus.read("GET", self._keys.recovery_topics(connection))
        try:
            return None if value is None else _decoder.decode(value)
        except msgspec.DecodeError as error:  # somebody else has written there
            _log.warning("no topics of a connection in Redis", reason=str(error))
            return None


def _encoded(topics: Topics) -> bytes:
    value = msgspec.json.encode(topics)
    return value if len(value) <= _VALUE_MAX_BYTES else _TOO_LARGE
