"""Runs plain functions of the application in threads, a bounded number at once."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio import to_thread


class Threads:
    """The threads of all plain functions of an application.

    Args:
        limit: how many functions may run at once.
    """

    def __init__(self, limit: int) -> None:
        self.slots = asyncio.Semaphore(limit)

    def awaitable(self, function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """The function itself if it is async; else a function that runs it in a thread."""
        if inspect.iscoroutinefunction(function):
            return function

        @functools.wraps(function)
        async def in_thread(*arguments: Any) -> Any:  # noqa: ANN401
            slots = self.slots
            await slots.acquire()
            work = asyncio.ensure_future(
                to_thread.run_sync(
                    function,
                    *arguments,
                    abandon_on_cancel=True,
                    limiter=anyio.CapacityLimiter(math.inf),
                )
            )
            work.add_done_callback(lambda work: _ended(work, slots))
            # If the function takes too long, the client gets an error. A thread cannot be stopped,
            # so it keeps its slot until it ends by itself.
            return await asyncio.shield(work)

        return in_thread


def _ended(work: asyncio.Future[Any], slots: asyncio.Semaphore) -> None:
    slots.release()
    if not work.cancelled():
        work.exception()  # marks it as retrieved: after a timeout nothing else would
