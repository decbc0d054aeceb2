"""The clocks of a cluster's buckets: starts them together and keeps them together.

A position of one clock is valid on the streams of another clock to within an overlap
(`clarion_contract.bus.positions`), as long as the clocks differ by less than the setting allows.
Ids never go back, so a node whose time jumps leaves the clocks of its buckets ahead of the others,
or behind them, for as long as its time was off. `BucketClocks.level` then raises all other clocks.
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
        """Give an epoch to each bucket that has none.

        Without it, a bucket would get its epoch only when somebody first reads one of its streams.
        The stream would then look as if it had lost all earlier events.
        """
        await self._raise_all(0)

    async def level(self, streams: Sequence[str], shared_id: int) -> None:
        """If clocks differ by more than is allowed, raise all of them to the highest.

        Args:
            streams: one stream at each primary.
            shared_id: the newest id of the shared clock that the pod knows.
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
