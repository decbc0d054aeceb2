"""Does for the application's handlers what they ask of the gateway."""

from __future__ import annotations

from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Publication, Published


class GatewayHost:
    """A `clarion_gateway.application.context.Host`: the gateway behind every context."""

    def __init__(self, queue: PublishQueue) -> None:
        self._queue = queue

    async def publish(
        self, audience: Audience, type_: str, data: bytes, *, exclude: str | None = None
    ) -> Published:
        """See `clarion_gateway.application.context.Host`."""
        return await self._queue.publish(Publication(audience, type_, data, exclude=exclude))
