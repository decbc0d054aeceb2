"""Resumes from far back in a history of large events, many at once, read as fast as they come."""

from __future__ import annotations

from tests.abuse.attack import Attack

_AT_ONCE = 16
_ENOUGH_BYTES = 6_000_000


async def attack(attack: Attack) -> None:
    """Histories are read in pages, as fast as the client takes them, or not at all."""

    async def resume(number: int) -> None:
        since = (attack.plan.since - 1, attack.plan.recent)[number % 2]
        async with attack.wire(attack.plan.gateway) as wire:
            await wire.send(b"GET /sse?since=%d HTTP/1.1\r\nHost: a\r\n\r\n" % since)
            read = await wire.read_head()
            while b'"resumed":' not in read:
                read += await wire.read()
            if b'"resumed":false' in read:
                attack.counts["not resumed"] += 1
                return
            attack.counts["resumed"] += 1
            read_bytes = len(read)
            while not attack.is_over and read_bytes < _ENOUGH_BYTES:
                read_bytes += len(await wire.read(1 << 20))
            attack.counts["bytes read"] += read_bytes

    await attack.over_and_over(min(_AT_ONCE, attack.plan.connections), resume)
