"""A scripted server for checks of clients, and the client's process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from clarion_cli.conformance.check import Broken
from clarion_cli.failure import ExitCode, Failure

ADDRESS_VARIABLE: Final = "CLARION_GATEWAY_URL"
_STOP_SECONDS: Final = 5.0
_SUBPROTOCOL: Final = Subprotocol("clarion.v1")


@dataclass(frozen=True, slots=True)
class Act:
    """The server's part on one connection: it sends messages, then closes.

    Attributes:
        close: the code; None: it stays open, and silent.
    """

    messages: Sequence[dict[str, Any]]
    close: int | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection of the client: its query, and when it came."""

    query: dict[str, str]
    at: float


@dataclass
class Stage:
    """The record of one check so far.

    Attributes:
        ended_at: when the server closed each connection.
        printed: ids of the events that the client has printed.
        exit_code: of the client's process; None: it runs.
    """

    acts: Sequence[Act]
    arrivals: list[Arrival] = field(default_factory=list)
    ended_at: list[float] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    exit_code: int | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait; the check's own time limit ends it.

        Raises:
            Broken: the client's process has ended before.
        """
        while not reached():
            if self.exit_code is not None:
                raise Broken(f"expected the client to run on, but it exited with {self.exit_code}")
            self._changed.clear()
            await self._changed.wait()

    async def arrived(self, count: int) -> None:
        """Wait until the client has connected so often."""
        await self.until(lambda: len(self.arrivals) >= count)

    async def has_printed(self, *ids: str) -> None:
        """Wait until the client has printed these events.

        Raises:
            Broken: it has printed others.
        """
        await self.until(lambda: len(self.printed) >= len(ids))
        if self.printed != list(ids):
            raise Broken(f"expected the events {list(ids)} to be printed, got {self.printed}")

    async def stays_away(self, seconds: float) -> None:
        """The client does not come back any more.

        Raises:
            Broken: it does.
        """
        count = len(self.acts)
        await self.arrived(count)
        # A client may end its process at the close. It stays away, too.
        await self.until(lambda: len(self.ended_at) >= count or self.exit_code is not None)
        with contextlib.suppress(TimeoutError, Broken):
            async with asyncio.timeout(seconds):
                await self.arrived(count + 1)
        if len(self.arrivals) > count:
            raise Broken("expected the client to stay away, but it came back")

    async def serve(self, socket: ServerConnection) -> None:
        """One connection; past the last act, the last one is played again."""
        assert socket.request is not None  # noqa: S101 - the handshake is over
        query = parse_qs(urlsplit(socket.request.path).query)
        self.arrivals.append(
            Arrival({name: values[-1] for name, values in query.items()}, time.monotonic())
        )
        self._changed.set()
        act = self.acts[min(len(self.arrivals), len(self.acts)) - 1]
        for message in act.messages:
            await socket.send(json.dumps(message))
        if act.close is None:
            await socket.wait_closed()
        else:
            await socket.close(act.close)
        self.ended_at.append(time.monotonic())
        self._changed.set()

    async def read(self, process: Process) -> None:
        """Note what the client prints: an event is a JSON object with an ``id``."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                printed = json.loads(line)
                if isinstance(printed, dict) and "id" in printed:
                    self.printed.append(str(printed["id"]))
                    self._changed.set()
        self.exit_code = await process.wait()
        self._changed.set()


@dataclass(frozen=True, slots=True)
class Client:
    """The client under test: a command line."""

    command: Sequence[str]

    @asynccontextmanager
    async def on(self, *acts: Act) -> AsyncIterator[Stage]:
        """Run the client against a server that plays these acts.

        Raises:
            Failure: the program cannot be started.
        """
        stage = Stage(acts)
        async with serve(stage.serve, "127.0.0.1", 0, select_subprotocol=_select) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            process = await self._start(f"http://127.0.0.1:{port}")
            reading = asyncio.create_task(stage.read(process))
            try:
                yield stage
            finally:
                await _end(process)
                await reading

    async def _start(self, url: str) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self.command,
                env={**os.environ, ADDRESS_VARIABLE: url},
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=DEVNULL,
            )
        except OSError as error:
            program, reason = self.command[0], error.strerror
            raise Failure(f"cannot start the client {program}: {reason}", ExitCode.USAGE) from None


def _select(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """A client that offers no subprotocol is served too."""
    return _SUBPROTOCOL if _SUBPROTOCOL in offered else None


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
