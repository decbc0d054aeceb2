"""The reads of streams' logs that replays, repair and topics' rings need of the bus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clarion_contract.bus.history import PAGE_MAX_BYTES, History
from clarion_contract.events.audience import Audience


class HistoryBus(Protocol):
    """The part of `clarion_contract.bus.bus.Bus` that reads logs, for replays and for repair."""

    async def history(
        self,
        ranges: Sequence[tuple[Audience, int]],
        *,
        limit: int,
        broken_too: bool = False,
        max_bytes: int = PAGE_MAX_BYTES,
    ) -> list[History]:
        """See `clarion_contract.bus.bus.Bus.history`."""
        ...


class LogBus(HistoryBus, Protocol):
    """The same, and the newest events of topics."""

    async def newest(
        self, audiences: Sequence[Audience], *, limit: int, max_bytes: int = PAGE_MAX_BYTES
    ) -> list[History]:
        """See `clarion_contract.bus.bus.Bus.newest`."""
        ...
