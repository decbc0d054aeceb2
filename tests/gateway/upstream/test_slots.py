"""Slots: a bound for the pod, one for each client, and nothing left of clients that are done."""

from __future__ import annotations

import asyncio

from clarion_gateway.upstream.slots import Slots


async def test_a_client_that_waits_holds_no_slot_of_the_pod() -> None:
    slots = Slots(2, 1)
    gate = asyncio.Event()
    begun: list[str] = []

    async def call(name: str) -> None:
        async with slots.take(name):
            begun.append(name)
            await gate.wait()

    calls = [asyncio.ensure_future(call(name)) for name in ("a", "a", "a", "b", "c")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert begun == ["a", "b"]
    assert slots.used == 2
    gate.set()
    await asyncio.gather(*calls)
    assert sorted(begun) == ["a", "a", "a", "b", "c"]
    assert slots.used == 0
    assert not slots._clients


async def test_a_call_that_is_cancelled_gives_its_slot_back() -> None:
    slots = Slots(1, 1)

    async def call() -> None:
        async with slots.take("a"):
            await asyncio.Event().wait()

    first, second = asyncio.ensure_future(call()), asyncio.ensure_future(call())
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    async with slots.take("a"):
        assert slots.used == 1
    assert not slots._clients
