"""An event loop whose time jumps from timer to timer: hours pass at once, runs repeat exactly."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    """A selector that never waits; time passes instead."""

    loop: ClockworkLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everyone waits for someone else"
        self.loop.now += max(0.0, timeout)
        return []


class ClockworkLoop(asyncio.SelectorEventLoop):
    """Deterministic: no I/O, no threads, and a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self.create_task(work)

    def run(self, turns: int) -> None:
        """Let every task do a few steps."""

        async def some() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run_until_complete(some())

    def settle(self) -> None:
        """Run until every task waits for a timer."""

        async def all_of_it() -> None:
            while self._ready:  # type: ignore[attr-defined]
                await asyncio.sleep(0)

        self.run_until_complete(all_of_it())

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        self.run_until_complete(asyncio.sleep(seconds))
        self.settle()

    def finish(self) -> None:
        """End every task, and the loop."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()
