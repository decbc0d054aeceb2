"""A producer that announces the largest bodies on many connections, and sends none of them."""

from __future__ import annotations

from tests.abuse.attack import Attack

_BODY_BYTES = 8 << 20
_CONNECTIONS = 40  # times the size of a body: more than PUBLISHER_BODIES_MAX_BYTES


async def attack(attack: Attack) -> None:
    """Memory is counted when it is used: the other producers have theirs."""
    head = (
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n"
    ) % (attack.plan.service_token.encode(), _BODY_BYTES)

    async def announce(_: int) -> None:
        async with attack.wire(attack.plan.publisher) as wire:
            await wire.send(head)
            await wire.is_ended(1)

    await attack.over_and_over(_CONNECTIONS, announce)
