"""Sockets that resume from far back, and never read what they asked for."""

from __future__ import annotations

from tests.abuse.attack import Attack


async def attack(attack: Attack) -> None:
    """Back-pressure reaches to where the events lie: nothing is made ready that nobody takes."""

    async def hold(_: int) -> None:
        async with attack.wire(attack.plan.gateway, deaf=True) as wire:
            await wire.send(b"GET /sse?since=%d HTTP/1.1\r\nHost: a\r\n\r\n" % (attack.plan.recent))
            await attack.until_over()

    await attack.many(attack.plan.connections, hold)
