"""Forged tokens, each with a key id of its own, in handshakes and in band."""

from __future__ import annotations

import base64
import json
import time

from tests.abuse.attack import Attack
from tests.integration.sockets import text

_SENDERS = 8


async def attack(attack: Attack) -> None:
    """The issuer is not asked for each of them, and nobody waits for them."""

    async def send(number: int) -> None:
        token = forged(attack.dice.randrange(1 << 60))
        if number % 2:
            async with attack.websocket() as wire:
                await wire.send(text(kind="auth", token=token, ref=1))
                await wire.read()
        else:
            async with attack.websocket(token=token) as wire:
                if not await wire.is_ended():
                    attack.fault("a forged token did not end its connection")
        attack.counts["tokens"] += 1

    await attack.over_and_over(_SENDERS, send)


def forged(key_id: int) -> str:
    """A token of the right form, with a key id that nobody knows."""
    header = {"alg": "ES256", "kid": f"{key_id}"}
    claims = {"sub": "alice", "exp": time.time() + 600}
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), bytes(64)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
