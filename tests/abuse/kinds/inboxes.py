"""Large messages from sockets that resume and never read: they wait until the socket has caught up."""

from __future__ import annotations

from tests.abuse.attack import Attack
from tests.integration.sockets import text

_MESSAGES = 58  # within the burst that a client may send
_LARGEST = text(kind="message", type="x", data="a" * 65_000)


async def attack(attack: Attack) -> None:
    """Nothing is read from a client that does not read itself."""

    async def hold(_: int) -> None:
        path = f"/ws?since={attack.plan.recent}"
        async with attack.websocket(path, deaf=True) as wire:
            for _ in range(_MESSAGES):
                if attack.is_over:
                    return
                await wire.send(_LARGEST)
            await attack.until_over()

    await attack.many(max(1, attack.plan.connections // 5), hold)
