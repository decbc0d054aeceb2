"""Sessions of Engine.IO that are begun and left: nothing is said, read or finished on them."""

from __future__ import annotations

import asyncio
import contextlib

from tests.abuse.attack import Attack, Gone
from tests.abuse.kinds.packets import probe, request, session
from tests.abuse.pods import MAX_CONNECTIONS
from tests.integration.sockets import TEXT, frame

_LATE_BYTES = 60
_BYTE_SECONDS = 1.0
_DUE = b'451-["a",{"_placeholder":true,"num":0}]'


async def attack(attack: Attack) -> None:
    """Each is ended by a deadline; they count as connections, and leave room for others."""
    kinds = [_half_open, _unread_poll, _dripping_post, _left_probe, _missing_attachment]
    count = min(MAX_CONNECTIONS // 2, 5 * attack.plan.connections)

    async def begin(number: int) -> None:
        await kinds[number % len(kinds)](attack)

    await attack.many(count, begin)


async def _half_open(attack: Attack) -> None:
    """No CONNECT, and no poll: the session is gone when somebody asks for it."""
    sid = await session(attack)
    async with attack.wire(attack.plan.gateway) as wire:
        await wire.send(request("GET", sid))
        # The poll is answered once the session ends.
        answer = await wire.read_head()
        if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400")):
            attack.fault(f"a half-open session was answered {answer[:40]!r}")


async def _unread_poll(attack: Attack) -> None:
    """It hangs up in the end; until then the answer waits in the kernel."""
    sid = await session(attack)
    async with attack.wire(attack.plan.gateway, deaf=True) as wire:
        await wire.send(request("POST", sid, b"40") + request("GET", sid) * 20)
        await attack.until(lambda: wire.is_cut)


async def _dripping_post(attack: Attack) -> None:
    """A body that comes a byte a second, on a session without a CONNECT."""
    sid = await session(attack)
    async with attack.wire(attack.plan.gateway) as wire:
        await wire.send(request("POST", sid, length=100_000))
        ended = asyncio.ensure_future(wire.is_ended())
        with contextlib.suppress(Gone):
            for _ in range(_LATE_BYTES):
                await wire.send(b"4")
                done, _ = await asyncio.wait([ended], timeout=_BYTE_SECONDS)
                if done:
                    break
        if not await ended:
            attack.fault("a POST that came byte by byte was waited for without end")


async def _left_probe(attack: Attack) -> None:
    """An upgrade that is begun and not finished."""
    sid = await session(attack)
    async with attack.wire(attack.plan.gateway) as wire:
        await wire.send(probe(sid))
        if not (await wire.read_head()).startswith(b"HTTP/1.1 101"):
            raise Gone
        await wire.send(frame(TEXT, b"2probe"))
        if not await wire.is_ended():
            attack.fault("nothing ended an upgrade that was left open")


async def _missing_attachment(attack: Attack) -> None:
    """It is due for as long as the session lives; the heartbeat ends that."""
    async with attack.websocket("/socket.io/?EIO=4&transport=websocket") as wire:
        await wire.send(frame(TEXT, b"40") + frame(TEXT, _DUE))
        await attack.until(lambda: wire.is_cut)
