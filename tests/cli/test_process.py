"""One process of the local stack: its output is relayed, and it always ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time

import pytest

from clarion_cli.failure import Failure
from clarion_cli.process import Process, Program, start_process
from tests.cli.clarion import ROOT, environment

PARENT = """
import asyncio, os, sys
from clarion_cli.process import Program, start_process

CHILD = "import os, time; print(os.getpid()); time.sleep(600)"

async def main():
    program = Program("p", (sys.executable, "-uc", CHILD), dict(os.environ))
    await start_process(program, lambda _, line: print(line))
    await asyncio.sleep(60)

asyncio.run(main())
"""

Lines = list[tuple[str, str]]


async def start(source: str, lines: Lines) -> Process:
    program = Program("p", (sys.executable, "-uc", source), environment())
    return await start_process(program, lambda name, line: lines.append((name, line)))


async def until(lines: Lines, line: str) -> None:
    async with asyncio.timeout(60):
        while ("p", line) not in lines:
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False
    ).stdout
    return bool(state.strip()) and not state.startswith(b"Z")


async def test_relays_both_outputs_line_by_line() -> None:
    lines: Lines = []
    process = await start(
        "import os; os.write(1, b'a\\n'); os.write(2, b'b\\r\\n'); os.write(1, b'\\xff' * 3)", lines
    )
    assert await process.wait() == 0
    assert lines == [("p", "a"), ("p", "b"), ("p", "\ufffd" * 3)]


async def test_relays_lines_longer_than_any_buffer() -> None:
    lines: Lines = []
    process = await start("print('x' * 300_000)", lines)
    await process.wait()
    assert lines == [("p", "x" * 300_000)]


async def test_stops_with_sigterm_first() -> None:
    lines: Lines = []
    process = await start(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready'); time.sleep(600)",
        lines,
    )
    await until(lines, "ready")
    await process.stop(10)
    assert process.exit_code == 7


async def test_kills_what_does_not_stop() -> None:
    lines: Lines = []
    process = await start(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready'); time.sleep(600)",
        lines,
    )
    await until(lines, "ready")
    await process.stop(0.1)
    assert process.exit_code == -signal.SIGKILL


async def test_ends_what_it_started_as_well() -> None:
    lines: Lines = []
    process = await start(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid); print('ready'); time.sleep(600)",
        lines,
    )
    await until(lines, "ready")
    grandchild = int(lines[0][1])
    await process.stop(10)
    async with asyncio.timeout(60):
        while is_alive(grandchild):
            await asyncio.sleep(0.01)


async def test_says_which_command_cannot_be_executed() -> None:
    with pytest.raises(Failure, match=r"cannot start p: .*missing"):
        await start_process(Program("p", ("/missing",), {}), lambda *_: None)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-uc", PARENT], stdout=subprocess.PIPE, env=environment(), cwd=ROOT
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
