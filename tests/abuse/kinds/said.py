"""Connections that have sent one large message each, had their answer, and stay."""

from __future__ import annotations

from tests.abuse.attack import Attack
from tests.integration.sockets import text

_MOST = 1_500  # of the connections that the pod holds
_LARGEST = text(kind="message", type="x", data="a" * 65_000)


async def attack(attack: Attack) -> None:
    """Nothing is kept of what was handled."""

    async def hold(_: int) -> None:
        async with attack.websocket() as wire:
            await wire.send(_LARGEST)
            while b"unknown_type" not in await wire.read():
                pass
            await attack.until_over()

    await attack.many(min(_MOST, 4 * attack.plan.connections), hold)
