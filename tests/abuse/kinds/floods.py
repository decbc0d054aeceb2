"""Tiny frames as fast as a socket takes them: pings, pongs, empty fragments, tiny messages."""

from __future__ import annotations

from tests.abuse.attack import Attack
from tests.integration.sockets import CONT, PING, PONG, TEXT, frame, text

_MOST_BYTES = 8 << 20
_FLOODS = (
    frame(PING) * 500,
    frame(PONG) * 500,
    frame(TEXT, fin=False) + frame(CONT, fin=False) * 499,
    frame(TEXT, b"{}") * 500,
    text(kind="message", type="x", ref=1) * 200,
    text(kind="auth", token=None) * 200,
)


async def attack(attack: Attack) -> None:
    """Each is stopped after what a client may send at once."""

    async def flood(number: int) -> None:
        sent = 0
        async with attack.websocket() as wire:
            while not attack.is_over and sent < _MOST_BYTES:
                data = _FLOODS[number % len(_FLOODS)]
                await wire.send(data)
                sent += len(data)
            if sent >= _MOST_BYTES:
                attack.fault(f"{_MOST_BYTES >> 20} MiB of tiny frames were taken")

    await attack.over_and_over(max(6, attack.plan.connections // 20), flood)
