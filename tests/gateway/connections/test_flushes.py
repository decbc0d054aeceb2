"""`clarion_gateway.connections.flushes`: one call for all sockets of a pass."""

from __future__ import annotations

import asyncio

from clarion_gateway.connections.flushes import Flushes


class Socket:
    def __init__(self, flushed: list[Socket]) -> None:
        self.flushed = flushed

    def flush(self) -> None:
        self.flushed.append(self)


class Broken(Socket):
    def flush(self) -> None:
        raise RuntimeError


async def test_sockets_are_flushed_at_the_end_of_the_pass_in_order() -> None:
    flushes, flushed = Flushes(), list[Socket]()
    sockets = [Socket(flushed) for _ in range(3)]
    for socket in sockets:
        flushes.add(socket)
    assert not flushed
    await asyncio.sleep(0)
    assert flushed == sockets
    flushes.add(sockets[0])
    await asyncio.sleep(0)
    assert flushed == [*sockets, sockets[0]]


async def test_one_that_fails_costs_no_other() -> None:
    flushes, flushed = Flushes(), list[Socket]()
    last = Socket(flushed)
    flushes.add(Broken(flushed))
    flushes.add(last)
    await asyncio.sleep(0)
    assert flushed == [last]


async def test_a_socket_that_is_added_by_a_flush_has_its_turn_in_the_next_pass() -> None:
    flushes, flushed = Flushes(), list[Socket]()
    last = Socket(flushed)

    class Again(Socket):
        def flush(self) -> None:
            flushes.add(last)

    flushes.add(Again(flushed))
    await asyncio.sleep(0)
    assert not flushed
    await asyncio.sleep(0)
    assert flushed == [last]
