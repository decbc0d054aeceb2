"""Publishes what handlers publish, if it is as the catalogue declares it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import InvalidEvent, Publication, Published


class Publisher(Protocol):
    """The part of `clarion_contract.bus.publish_queue.PublishQueue` that handlers use."""

    async def publish(self, publication: Publication) -> Published:
        """Publish one event."""
        ...


class Violation(Protocol):
    """See `clarion_contract.events.declaration.Violation`."""

    @property
    def pointer(self) -> str:
        """The place in the event."""
        ...

    @property
    def expected(self) -> str:
        """The declared form."""
        ...

    @property
    def got(self) -> str:
        """The value that stands there."""
        ...


class CheckedQueue:
    """A queue that takes only declared events."""

    def __init__(
        self, queue: Publisher, check: Callable[[Audience, str, bytes], Sequence[Violation]]
    ) -> None:
        self._queue = queue
        self._check = check

    async def publish(self, publication: Publication) -> Published:
        """Publish one event.

        Raises:
            InvalidEvent: it is not as it is declared.
            BusUnavailable: Redis does not answer.
        """
        wrong = self._check(publication.audience, publication.type, publication.data)
        if wrong:
            first, more = wrong[0], f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise InvalidEvent(
                f"{publication.type}: expected {first.expected} at {first.pointer}, got "
                f"{first.got}{more}"
            )
        return await self._queue.publish(publication)
