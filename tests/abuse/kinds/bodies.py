"""Request bodies that come byte by byte, from a caller with a token."""

from __future__ import annotations

import asyncio

from tests.abuse.attack import Attack, Gone

_LATE_BYTES = 300
_PAUSE_SECONDS = 0.1


async def attack(attack: Attack) -> None:
    """Every request is to be ended by its deadline."""
    head = (
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\n%b\r\n\r\n"
    )
    kinds = (b"Content-Length: 100000", b"Transfer-Encoding: chunked")
    pieces = (b"x", b"1\r\nx\r\n")

    async def drip(number: int) -> None:
        kind = number % 2
        async with attack.wire(attack.plan.publisher) as wire:
            await wire.send(head % (attack.plan.service_token.encode(), kinds[kind]))
            ended = asyncio.ensure_future(wire.is_ended())
            for _ in range(_LATE_BYTES):
                if ended.done():
                    break
                try:
                    await wire.send(pieces[kind])
                except Gone:
                    break
                await asyncio.sleep(_PAUSE_SECONDS)
            if not await ended:
                attack.fault("a body that came byte by byte was waited for without end")

    await attack.many(attack.plan.connections, drip)
