"""Two requests that ask for an upgrade, in one packet."""

from __future__ import annotations

from tests.abuse.attack import Attack
from tests.integration.sockets import request_of

_SENDERS = 4
_H2C = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


async def attack(attack: Attack) -> None:
    """Whatever becomes of them, it is no traceback in a log."""
    ports = (attack.plan.gateway, attack.plan.publisher)
    packets = (_H2C * 2, request_of() * 2, _H2C + request_of(), request_of("/sse") * 2, _H2C * 20)

    async def send(number: int) -> None:
        async with attack.wire(ports[number % 2]) as wire:
            await wire.send(attack.dice.choice(packets))
            await wire.read()

    await attack.over_and_over(_SENDERS, send)
