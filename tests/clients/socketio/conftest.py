"""Unmodified clients of Socket.IO, each in a process: those of Node, in the newest version and the
first of 4, and that of Python.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.clients.js.conftest import run
from tests.integration.pod import SECONDS

HERE = Path(__file__).parent
MODULES = ("socket.io-client", "socket.io-client-4.0")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both versions are installed."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node 20 or newer and npm on PATH")
    copy = tmp_path_factory.mktemp("socketio") / "clients"
    ignored = shutil.ignore_patterns("node_modules", "*.py", "__pycache__")
    shutil.copytree(HERE, copy, ignore=ignored)
    run("npm", "ci", "--no-audit", "--no-fund", cwd=copy)
    return copy


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

    async def command(self, **command: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def reported(self, kind: str, begin: int = 0, **fields: object) -> dict[str, Any]:
        """Wait for a report of a kind with these fields, after the first ``begin`` ones."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            wanted = {"kind": kind, **fields}
            found[:] = [each for each in self.reports[begin:] if wanted.items() <= each.items()]
            return bool(found)

        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(is_there)
        return found[0]

    async def event(self, name: str, begin: int = 0) -> list[Any]:
        """The arguments of the first event of that name."""
        return list((await self.reported("event", begin, name=name))["args"])

    async def ask(self, *arguments: object) -> list[Any]:
        """Emit with an ack; returns what the server answers."""
        begin = len(self.reports)
        await self.command(ask=arguments)
        return list((await self.reported("ack", begin))["reply"])


Drive = Callable[..., AbstractAsyncContextManager[Driven]]


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def drive(folder: Path, module: str) -> Drive:
    """Run a client in Node with these options, and stop it at the end."""
    return partial(driving, ("node", "driver.mjs"), folder, module)


@pytest.fixture
def drive_python() -> Drive:
    """Run a client of python-socketio with these options, and stop it at the end."""
    return partial(driving, (sys.executable, "driver.py"), HERE, "")


@asynccontextmanager
async def driving(
    program: Sequence[str], cwd: Path, module: str, url: str, **options: object
) -> AsyncIterator[Driven]:
    arguments = json.dumps({"url": url, "module": module, "options": options})
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *program, arguments, cwd=cwd, stdin=pipe, stdout=pipe
    )
    driven = Driven(process)
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
