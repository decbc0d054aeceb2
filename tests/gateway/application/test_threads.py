"""`clarion_gateway.application.threads`: plain functions run in threads, some at a time."""

from __future__ import annotations

import asyncio
import threading

from clarion_gateway.application.threads import Threads


async def test_a_plain_function_runs_in_a_thread() -> None:
    def function(number: int) -> tuple[int, int]:
        return number + 1, threading.get_ident()

    value, thread = await Threads(1).awaitable(function)(1)
    assert value == 2
    assert thread != threading.get_ident()


async def test_an_async_function_stays_what_it_is() -> None:
    async def function() -> None: ...

    assert Threads(1).awaitable(function) is function


async def test_no_more_threads_than_allowed_run_at_once() -> None:
    running, most = 0, 0
    gate = threading.Event()
    lock = threading.Lock()

    def function() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if most == 2:
                gate.set()
        gate.wait(5)
        with lock:
            running -= 1

    call = Threads(2).awaitable(function)
    await asyncio.gather(*(call() for _ in range(8)))
    assert most == 2
