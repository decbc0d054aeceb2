"""One service of the local stack: its program, its process, and the wait until it is ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

import httpx

from clarion_cli.failure import Failure
from clarion_cli.process import Process, Program, start_process

READY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_ANSWER_SECONDS: Final = 2.0


class StartFailure(Failure):
    """A process of the stack ended at its start, or was not ready in time.

    Attributes:
        process: the name of the process.
        told: whether the message holds everything that the process wrote.
    """

    def __init__(self, why: str, process: Process) -> None:
        lines = [line.strip() for line in process.last_lines if line.strip()]
        # A service puts its own name in front of its last line.
        last = lines[-1].removeprefix(f"{process.name.partition('-')[0]}: ") if lines else ""
        super().__init__(f"{process.name} {why}: {last}" if last else f"{process.name} {why}")
        self.process = process.name
        self.told = len(lines) <= 1


class Listener(Protocol):
    """Receives news of the processes: that one is ready or has ended, and each line."""

    def ready(self, name: str, seconds: float) -> None:
        """A process is ready, this long after its start."""

    def ended(self, name: str, exit_code: int | None) -> None:
        """A process ended by itself, and is started again."""

    def line(self, name: str, line: str) -> None:
        """A process wrote a line."""


class Service:
    """One service; a restart gives it another process.

    Attributes:
        process: the current one.
        excused: whether its end is expected: it restarts, or its new code does not start.
    """

    process: Process  # from `start` on

    def __init__(
        self,
        program: Program,
        ready_url: str,
        listener: Listener,
        note_pid: Callable[[str, int], None],
    ) -> None:
        self.excused = False
        self._program = program
        self._ready_url = ready_url
        self._listener = listener
        self._note_pid = note_pid
        self._since = 0.0

    async def start(self) -> None:
        """Start the process; `until_ready` waits for it."""
        self._since = time.monotonic()
        self.process = await start_process(self._program, self._listener.line)
        self._note_pid(self._program.name, self.process.pid)

    async def until_ready(self) -> None:
        """Return when the service is ready.

        Raises:
            StartFailure: it ended at once, or was not ready in time.
        """
        async with httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS) as client:
            ready = _answers(client, self._ready_url)
            await until_ready(self.process, self._since, ready, self._listener)


async def until_ready(
    process: Process, since: float, ready: Coroutine[None, None, None], listener: Listener
) -> None:
    """Return when ``ready`` does, and tell the listener.

    Args:
        since: when the process was started, by `time.monotonic`.

    Raises:
        StartFailure: the process ended at once, or was not ready in time.
    """
    answering = asyncio.create_task(ready)
    ended = asyncio.create_task(process.wait())
    try:
        await asyncio.wait(
            {answering, ended}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if ended.done():
            raise StartFailure("ended at once", process)
        if not answering.done():
            raise StartFailure(f"was not ready within {READY_SECONDS:.0f} s", process)
        answering.result()
    finally:
        answering.cancel()
        ended.cancel()
    listener.ready(process.name, time.monotonic() - since)


async def _answers(client: httpx.AsyncClient, url: str) -> None:
    """Return when the URL answers with status 200."""
    while True:
        try:
            if (await client.get(url)).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(_POLL_SECONDS)
