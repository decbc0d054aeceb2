"""One process of the local stack: starts it in its own group, relays its log, and ends it.

Each process has its own group and session. So Ctrl-C at the terminal reaches only `clarion up`,
which stops its processes in order. And everything that a process started can be ended with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from clarion_cli.failure import Failure

_PR_SET_PDEATHSIG: Final = 1
_CHUNK_BYTES: Final = 65_536
_REMEMBERED_LINES: Final = 12
_LAST_OUTPUT_SECONDS: Final = 0.5
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Program:
    """A command to run, and its complete environment.

    Attributes:
        run_as: arguments of `subprocess.Popen` about another user; empty: the same user.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    run_as: Mapping[str, Any] = field(default_factory=dict)


class Process:
    """A running program; made by `start_process`."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        output: asyncio.StreamReader,
        on_line: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self._process = process
        self._on_line = on_line
        self._relay = asyncio.create_task(self._relay_output(output))

    @property
    def pid(self) -> int:
        """The process id, which is also that of its group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while the process runs; negative: the signal that ended it."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the process has ended and its output is relayed; return its exit code."""
        code = await self._process.wait()
        # Not for ever: a child that the process left behind may hold the pipe open.
        await asyncio.wait({self._relay}, timeout=_LAST_OUTPUT_SECONDS)
        return code

    async def stop(self, grace_seconds: float, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal; send SIGKILL if the process outlives the grace, or on cancellation."""
        try:
            self._signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_seconds)
        finally:
            self.kill()
        await self.wait()

    def kill(self) -> None:
        """Send SIGKILL to the whole group, which includes children that were left behind."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for zombies
            os.killpg(self._process.pid, number)

    async def _relay_output(self, output: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await output.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._pass_on(line)
        if rest:
            self._pass_on(rest)

    def _pass_on(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        self.last_lines.append(text)
        self._on_line(self.name, text)


async def start_process(program: Program, on_line: Callable[[str, str], None]) -> Process:
    """Start a program. ``on_line(name, line)`` receives its output line by line.

    Raises:
        Failure: the command cannot be executed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *program.command,
            env=dict(program.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
            **program.run_as,
        )
    except OSError as error:
        raise Failure(f"cannot start {program.name}: {error}") from None
    return Process(program.name, process, cast("asyncio.StreamReader", process.stdout), on_line)


def _die_with_parent() -> None:
    """Runs in the child before exec. On Linux: have it killed if `clarion up` itself is killed."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
