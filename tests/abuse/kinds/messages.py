"""Messages that are huge, say that they are huge, or would be if they were unpacked."""

from __future__ import annotations

import struct
import zlib

from tests.abuse.attack import Attack
from tests.integration.sockets import TEXT, frame, text

_GIGABYTE = struct.pack("!BBQ", 0x81, 0x80 | 127, 1 << 30) + bytes(4)
_DEFLATE = zlib.compressobj(wbits=-12)
_BOMB = frame(TEXT, _DEFLATE.compress(bytes(60_000_000)) + _DEFLATE.flush(), rsv=4)
_LARGEST = text(kind="message", type="x", data="a" * 65_000)


async def attack(attack: Attack) -> None:
    """They are refused before they cost what they say; the largest that are taken come in a burst."""
    packets = (_GIGABYTE + b"a" * 200_000, _BOMB, _LARGEST * 55, frame(TEXT, b"[" * 65_000))

    async def send(number: int) -> None:
        async with attack.websocket() as wire:
            await wire.send(packets[number % len(packets)])
            await wire.read()

    await attack.over_and_over(max(4, attack.plan.connections // 20), send)
