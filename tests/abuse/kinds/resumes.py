"""Resumes from the beginning of a history of large events, many at once, read as fast as they come."""

from __future__ import annotations

from tests.abuse.attack import Attack

_AT_ONCE = 4


async def attack(attack: Attack) -> None:
    """Histories are read in pages, as fast as the client takes them."""

    async def resume(_: int) -> None:
        async with attack.wire(attack.plan.gateway) as wire:
            await wire.send(
                b"GET /sse?since=%d HTTP/1.1\r\nHost: a\r\n\r\n" % (attack.plan.since - 1)
            )
            while not attack.is_over:
                attack.counts["bytes read"] += len(await wire.read(1 << 20))

    await attack.over_and_over(min(_AT_ONCE, attack.plan.connections), resume)
