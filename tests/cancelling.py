"""Cancels a job wherever it waits: nothing that it has opened may stay open.

What stays open is closed by nobody. It holds a descriptor here and a place at the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

Job = Callable[[], Coroutine[Any, Any, object]]

_SECONDS = 60.0


async def cancelled_at_each_step(job: Job) -> None:
    """Run a job, cancelled when it waits for the first time; again, at the second, and so on."""
    for step in itertools.count():
        before = open_connections(), asyncio.all_tasks()
        was_cancelled = await cancelled_at(step, job())
        assert not open_connections() - before[0], f"cancelled at step {step}"
        deadline = time.monotonic() + _SECONDS
        while tasks := asyncio.all_tasks() - before[1]:  # a query to DNS ends by itself
            assert time.monotonic() < deadline, f"cancelled at step {step}: {tasks}"
            await asyncio.sleep(0.005)
        if not was_cancelled:
            break


async def cancelled_at(step: int, job: Coroutine[Any, Any, object]) -> bool:
    """Run a job, and cancel it when it waits after `step` other waits; False if it ends before."""
    was_cancelled = False

    @types.coroutine
    def stepping() -> Generator[Any, Any, None]:
        nonlocal was_cancelled
        driven = job.__await__()
        task = asyncio.current_task()
        assert task is not None
        go_on: Callable[[], Any] = driven.__next__
        for number in itertools.count():
            try:
                waits_for = go_on()
            except StopIteration:
                return
            if number == step:
                was_cancelled = True
                task.cancel()  # before anything that it has begun can start
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 - passed on
                go_on = lambda error=error: driven.throw(error)  # noqa: E731
            else:
                go_on = driven.__next__

    async def whole() -> None:
        await stepping()

    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.create_task(whole())
    return was_cancelled


def open_connections() -> set[asyncio.Transport]:
    """All that the running event loop has."""
    loop = asyncio.get_running_loop()
    return {
        each
        for each in gc.get_objects()
        # Not isinstance: it asks weak references for their object, which may be gone.
        if issubclass(type(each), asyncio.Transport)
        and each._loop is loop
        and not each.is_closing()
    }
