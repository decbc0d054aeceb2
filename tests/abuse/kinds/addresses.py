"""Handshakes of one client address, behind a proxy, as fast as they are answered."""

from __future__ import annotations

import time

from tests.abuse.attack import Attack
from tests.abuse.pods import ADDRESS_BURST, ADDRESS_PER_SECOND
from tests.integration.sockets import request_of

_SENDERS = 8
# The proxy appended the second one; the client made up the first.
_FORWARDED = {"X-Forwarded-For": "198.51.100.1, 192.0.2.7"}


async def attack(attack: Attack) -> None:
    """No more are admitted than one address may begin."""
    began = time.monotonic()

    async def shake(number: int) -> None:
        async with attack.wire(attack.plan.gateway) as wire:
            await wire.send(request_of(headers=_FORWARDED))
            head = await wire.read_head()
            attack.counts["admitted" if b" 101 " in head else "refused"] += 1
            if b" 101 " not in head and b" 429 " not in head:
                attack.fault(f"expected 101 or 429, got {head[:40]!r}")

    await attack.over_and_over(_SENDERS, shake)
    most = ADDRESS_BURST + ADDRESS_PER_SECOND * (time.monotonic() - began)
    if attack.counts["admitted"] > most + 1:
        attack.fault(f"{attack.counts['admitted']} handshakes of one address, at most {most:.0f}")
