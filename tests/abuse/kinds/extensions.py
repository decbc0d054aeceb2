"""Chunk extensions without end: bytes of a body's framing that no length announces."""

from __future__ import annotations

from tests.abuse.attack import Attack

_SENDERS = 4
_MOST_BYTES = 64 << 20
_HEAD = (
    b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer %b\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_PIECES = (b"x" * 65_536, b"1;a=%b\r\nx\r\n" % (b"b" * 1_000) * 60)


async def attack(attack: Attack) -> None:
    """Framing counts as the body that it frames does."""

    async def endless(number: int) -> None:
        sent = 0
        async with attack.wire(attack.plan.publisher) as wire:
            head = _HEAD % attack.plan.service_token.encode()
            await wire.send(head + (b"" if number % 2 else b"1;a="))
            while not attack.is_over and sent < _MOST_BYTES:
                piece = _PIECES[number % 2]
                await wire.send(piece)
                sent += len(piece)
            if sent >= _MOST_BYTES:
                attack.fault(f"{_MOST_BYTES >> 20} MiB of chunks' framing on one connection")

    await attack.many(_SENDERS, endless)
