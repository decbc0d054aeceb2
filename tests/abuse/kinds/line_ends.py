"""Lone line ends, where a request should be: alone, behind a request, one after the other."""

from __future__ import annotations

import asyncio

from tests.abuse.attack import Attack, Gone

_REQUEST = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
_PAUSE_SECONDS = 0.5
_LATE_LINES = 80


async def attack(attack: Attack) -> None:
    """None of them keeps a connection open."""
    ports = (("gateway", attack.plan.gateway), ("publisher", attack.plan.publisher))
    cases = [
        (f"{data!r} at the {name}", port, data)
        for name, port in ports
        for data in (b"\r\n", b"\n", b"\r", b"\r\n" * 50, _REQUEST + b"\r\n")
    ]

    async def drip(number: int) -> None:
        name, port = ports[number % 2]
        async with attack.wire(port) as wire:
            ended = asyncio.ensure_future(wire.is_ended())
            for _ in range(_LATE_LINES):
                if ended.done():
                    break
                try:
                    await wire.send(b"\r\n")
                except Gone:
                    break
                await asyncio.sleep(_PAUSE_SECONDS)
            if not await ended:
                attack.fault(f"a line end now and then kept a connection at the {name}")

    async with asyncio.TaskGroup() as group:
        group.create_task(attack.ends(cases, max(1, attack.plan.connections // 40)))
        group.create_task(attack.many(max(2, attack.plan.connections // 40), drip))
