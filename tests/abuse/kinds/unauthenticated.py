"""Large bodies from callers without a token, as fast as sockets take them."""

from __future__ import annotations

from tests.abuse.attack import Attack

_SENDERS = 8
_PIECE = b"x" * 65_536
_HEAD = b"POST /v1/events:batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%b\r\n\r\n"
_KINDS = (b"Content-Length: 8388608", b"Transfer-Encoding: chunked")
_MOST_BYTES = 32 << 20


async def attack(attack: Attack) -> None:
    """They have their answer before their body, and what they go on to send is thrown away."""

    async def flood(number: int) -> None:
        chunked = number % 2
        piece = b"10000\r\n%b\r\n" % _PIECE if chunked else _PIECE
        most = _MOST_BYTES if chunked else 8 << 20
        sent = 0
        async with attack.wire(attack.plan.publisher) as wire:
            await wire.send(_HEAD % _KINDS[chunked])
            while sent < most and not attack.is_over:
                await wire.send(piece)
                sent += len(_PIECE)
            if chunked and sent >= most:
                attack.fault(f"{_MOST_BYTES >> 20} MiB were taken behind a 401")

    await attack.over_and_over(_SENDERS, flood)
