"""A second source: hands in a list of events in batches, as a reader of a database would."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from clarion_contract.events.event import Published
from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.authorise import SCOPES
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.ingestion import Ingestion
from clarion_publisher.ingestion.refusal import Refusal

CALLER = Claims("list", frozenset(SCOPES.values()), float("inf"))

_BATCH_EVENTS = 3
_PAUSE_SECONDS = 0.05


class ListSource:
    """Publishes events in order; an event with a retryable refusal is handed in again.

    Attributes:
        published: by event, in the order of publishing.
        refused: by event, for good.
        tries: calls to ingestion.
        stopped: whether it was cancelled and has ended.
    """

    def __init__(self, events: Sequence[IncomingEvent], caller: Claims = CALLER) -> None:
        self._waiting = list(events)
        self._caller = caller
        self.published: list[tuple[IncomingEvent, Published]] = []
        self.refused: list[tuple[IncomingEvent, Refusal]] = []
        self.tries = 0
        self.stopped = False

    async def run(self, ingestion: Ingestion) -> None:
        """See `clarion_publisher.sources.source.Source`."""
        try:
            while self._waiting:
                await self._publish_some(ingestion)
            await asyncio.Event().wait()
        finally:
            self.stopped = True

    def obstacles(self) -> Sequence[str]:
        """See `clarion_publisher.sources.source.Source`."""
        return (f"{len(self._waiting)} events of the list wait",) if self._waiting else ()

    def warnings(self) -> Sequence[str]:
        """See `clarion_publisher.sources.source.Source`."""
        return ()

    async def _publish_some(self, ingestion: Ingestion) -> None:
        batch = self._waiting[:_BATCH_EVENTS]
        outcomes = await ingestion.publish(self._caller, batch)
        self.tries += 1
        again = []
        for event, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Published):
                self.published.append((event, outcome))
            elif outcome.kind.retryable:
                again.append(event)
            else:
                self.refused.append((event, outcome))
        self._waiting[: len(batch)] = again
        if again:
            await asyncio.sleep(_PAUSE_SECONDS)
