"""A client in a process of its own: it takes commands and gives reports, as lines of JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.integration.pod import SECONDS


class Driven:
    """A client in a process.

    Attributes:
        reports: everything that it has reported, in order.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._news = asyncio.Condition()
        self.reports: list[dict[str, Any]] = []

    async def read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._news:
                self.reports.append(json.loads(line))
                self._news.notify_all()

    async def write(self, **command: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def reported(
        self, fits: Callable[[dict[str, Any]], bool], begin: int = 0
    ) -> dict[str, Any]:
        """Wait for a report that fits, after the first ``begin`` ones."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [report for report in self.reports[begin:] if fits(report)]
            return bool(found)

        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(is_there)
        return found[0]


AnyDriven = TypeVar("AnyDriven", bound=Driven)


@asynccontextmanager
async def driving(kind: type[AnyDriven], *command: str, cwd: Path) -> AsyncIterator[AnyDriven]:
    """Run a client, and stop it at the end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdin=pipe, stdout=pipe)
    driven = kind(process)
    reading = asyncio.create_task(driven.read())
    try:
        yield driven
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading
