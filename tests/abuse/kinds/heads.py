"""Request heads that come byte by byte, and never end."""

from __future__ import annotations

import asyncio

from tests.abuse.attack import Attack, Gone

_LATE_BYTES = 300
_PAUSE_SECONDS = 0.1


async def attack(attack: Attack) -> None:
    """Every connection is to be ended by its deadline, whatever it sends meanwhile."""
    ports = (attack.plan.gateway, attack.plan.publisher)

    async def drip(number: int) -> None:
        async with attack.wire(ports[number % 2]) as wire:
            await wire.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nX: ")
            ended = asyncio.ensure_future(wire.is_ended())
            for _ in range(_LATE_BYTES):
                if ended.done():
                    break
                try:
                    await wire.send(b"x")
                except Gone:
                    break
                await asyncio.sleep(_PAUSE_SECONDS)
            if not await ended:
                attack.fault("a head that came byte by byte was waited for without end")

    await attack.many(attack.plan.connections, drip)
