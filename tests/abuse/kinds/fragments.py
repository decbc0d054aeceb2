"""Messages that are never finished: most of one is sent, and the connection stays."""

from __future__ import annotations

from tests.abuse.attack import Attack
from tests.integration.sockets import TEXT, frame

_BYTES = 60_000
_MOST = 1_500  # of the connections that the pod holds


async def attack(attack: Attack) -> None:
    """What the pod keeps of them is bounded, however many there are."""
    data = frame(TEXT, b"a" * _BYTES, fin=False)

    async def hold(_: int) -> None:
        async with attack.websocket() as wire:
            await wire.send(data)
            await attack.until_over()

    await attack.many(min(_MOST, 4 * attack.plan.connections), hold)
