"""More connections than the pod holds: WebSockets, and TCP connections that say nothing."""

from __future__ import annotations

from tests.abuse.attack import Attack
from tests.abuse.pods import MAX_CONNECTIONS

_PLAIN = 600


async def attack(attack: Attack) -> None:
    """Those past the limit are turned away; those who were there stay."""
    most = min(MAX_CONNECTIONS + 200, 6 * attack.plan.connections)

    async def hold(number: int) -> None:
        if number < most:
            async with attack.websocket():
                attack.counts["held"] += 1
                await attack.until_over()
        else:
            async with attack.wire(attack.plan.gateway) as wire:
                await wire.is_ended()

    await attack.many(most + min(_PLAIN, attack.plan.connections), hold)
