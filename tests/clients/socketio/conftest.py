"""Unmodified clients of Socket.IO, each in a process: those of Node, in the newest version and the
first of 4, and that of Python.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.clients import driven
from tests.clients.js.conftest import run

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


class Driven(driven.Driven):
    """A client of Socket.IO in a process."""

    async def told(self, kind: str, begin: int = 0, **fields: object) -> dict[str, Any]:
        """Wait for a report of a kind with these fields, after the first ``begin`` ones."""
        wanted = {"kind": kind, **fields}
        return await self.reported(lambda report: wanted.items() <= report.items(), begin)

    async def event(self, name: str, begin: int = 0) -> list[Any]:
        """The arguments of the first event of that name."""
        return list((await self.told("event", begin, name=name))["args"])

    async def ask(self, *arguments: object) -> list[Any]:
        """Emit with an ack; returns what the server answers."""
        begin = len(self.reports)
        await self.write(ask=arguments)
        return list((await self.told("ack", begin))["reply"])


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


@pytest.fixture
def drive_asyncio() -> Drive:
    """The same with its client for asyncio, which only listens."""
    return partial(driving, (sys.executable, "asyncio_driver.py"), HERE, "")


def driving(
    program: Sequence[str], cwd: Path, module: str, url: str, **options: object
) -> AbstractAsyncContextManager[Driven]:
    arguments = json.dumps({"url": url, "module": module, "options": options})
    return driven.driving(Driven, *program, arguments, cwd=cwd)
