"""Topics in memory, kept as `clarion_gateway.bus.recovery_topics.RecoveryTopics` keeps them in Redis."""

from __future__ import annotations

from collections.abc import Mapping

from clarion_contract.events.errors import BusUnavailable


class MemoryTopics:
    """Keeps the topics of connections.

    Attributes:
        kept: by the ids of connections: topics, and whether a token granted them.
        writes: each one that came, as ids.
        down: whether Redis does not answer.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Mapping[str, bool]] = {}
        self.writes: list[list[str]] = []
        self.down = False

    async def write(self, topics: Mapping[str, Mapping[str, bool]]) -> None:
        self.writes.append(list(topics))
        if self.down:
            raise BusUnavailable("down")
        self.kept |= topics

    async def read(self, connection: str) -> Mapping[str, bool] | None:
        return self.kept.get(connection)
