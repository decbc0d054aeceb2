"""The clocks of a cluster's buckets: begun together, and kept together.

A position is good on streams of another clock to within an overlap
(`clarion_contract.bus.positions`), as long as clocks differ by less than was allowed for. Ids
never go back; so a node whose time jumps leaves its buckets' clocks ahead, or behind, for as long
as it was off. Then all others are raised.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from clarion_contract.bus.bus import ScriptingBus
from clarion_contract.redis.keyspace import BUCKET_NAMES, Keyspace, shard_stream
from clarion_contract.redis.server import Script

_log = structlog.get_logger(__name__)


class BucketClocks:
    """The clocks of one namespace. Every method may raise `BusUnavailable`."""

    def __init__(self, bus: ScriptingBus, keyspace: Keyspace, *, allowed_microseconds: int) -> None:
        self._bus = bus
        self._keys = keyspace
        self._allowed_microseconds = allowed_microseconds
        self._script = Script("clock.lua")

    async def begin(self) -> None:
        """Give each bucket its epoch, where it has none.

        Else one that is first used when somebody looks for what a stream holds would look as if it
        had lost what was before.
        """
        await self._raise_all(0)

    async def level(self, streams: Sequence[str], shared_id: int) -> None:
        """Raise all clocks to the highest where some differ by more than is allowed.

        Args:
            streams: one at each primary.
            shared_id: the last id known of the shared clock.
        """
        calls = [(1, self._keys.clock(stream), 0) for stream in streams]
        moments = [shared_id, *map(int, await self._bus.run(self._script, calls))]
        difference = max(moments) - min(moments)
        if difference > self._allowed_microseconds:
            _log.warning("clocks of the cluster differ; ids are raised", seconds=difference / 1e6)
            await self._raise_all(max(moments))

    async def _raise_all(self, floor: int) -> None:
        keys = [self._keys.clock(shard_stream(bucket, "")) for bucket in BUCKET_NAMES]
        await self._bus.run(self._script, [(1, key, floor) for key in keys])
