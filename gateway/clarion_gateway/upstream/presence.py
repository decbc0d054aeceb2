"""Tells the backend of users that came online or went offline, many at a time.

`clarion_gateway.fleet.transitions` decides which, and calls again until the backend has taken them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from clarion_contract.bus.transitions import Transition
from clarion_gateway.upstream.exchange import Exchange

PRESENCE: Final = "clarion.presence"
# Calls for one client share a bound. No user's calls have this name: theirs begin with `user:`.
_CLIENT: Final = "presence"


class UpstreamPresence:
    """The way of transitions to the backend."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def tell(self, batch: Sequence[Transition]) -> None:
        """Send a batch, in order, and return once the backend has taken it.

        Args:
            batch: not empty.

        Raises:
            UpstreamFailed: the backend has not taken it, or its answer is none.
            BusUnavailable: Redis does not take an event of the answer.
        """
        changes = [
            {
                "position": each.position,
                "user": each.user,
                "online": each.online,
                "time": datetime.fromtimestamp(each.at, UTC).isoformat(timespec="milliseconds"),
            }
            for each in batch
        ]
        id_ = f"presence_{batch[0].position}_{batch[-1].position}"
        await self._exchange.tell(id_, PRESENCE, _CLIENT, msgspec.json.encode({"changes": changes}))
