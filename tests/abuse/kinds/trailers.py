"""Trailers without end behind a chunked request, and trailers that ask for rights. No token needed."""

from __future__ import annotations

from tests.abuse.attack import Attack

_SENDERS = 4
_MOST_BYTES = 64 << 20
_EVENT = b'{"audience":{"user":"nobody"},"type":"forged","data":1}'
_CHUNKED = (
    b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_PIECES = (b"a: b\r\n" * 10_000, b"x" * 65_536)


async def attack(attack: Attack) -> None:
    """Nothing behind the head decides anything, and every byte of it counts."""
    async with attack.wire(attack.plan.publisher) as wire:
        event = b"%x\r\n%b\r\n0\r\n" % (len(_EVENT), _EVENT)
        token = attack.plan.service_token.encode()
        await wire.send(_CHUNKED + event + b"Authorization: Bearer %b\r\n\r\n" % token)
        if not (await wire.read_head()).startswith(b"HTTP/1.1 401"):
            attack.fault("a token in a trailer authorised a request")

    async def endless(number: int) -> None:
        sent = 0
        async with attack.wire(attack.plan.publisher) as wire:
            await wire.send(_CHUNKED + b"0\r\n" + (b"" if number % 2 else b"a: "))
            while not attack.is_over and sent < _MOST_BYTES:
                piece = _PIECES[(number + 1) % 2]
                await wire.send(piece)
                sent += len(piece)
            if sent >= _MOST_BYTES:
                attack.fault(f"{_MOST_BYTES >> 20} MiB of trailers were taken on one connection")

    await attack.many(_SENDERS, endless)
