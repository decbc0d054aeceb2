"""The servers under test: how each is started, addressed and fed.

A contender says what to run; `started` runs it. Adding a server means adding a row to CONTENDERS.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import packages
from bench.broker import Broker
from bench.cores import Cores
from bench.dialects import PLAIN, SOCKET_IO, Dialect
from bench.processes import ServerProcess, accepts, free_port, running
from bench.publishers import CHANNEL, PlainPublisher, Publisher, SocketIoPublisher


@dataclass(frozen=True)
class Launch:
    """A command ready to run."""

    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Contender:
    """One server under test."""

    name: str
    label: str
    dialect: Dialect
    launch: Callable[[int, str], Launch]
    publisher: Callable[[str], Publisher]
    queries: Callable[[int], list[str]] = lambda connections: [""] * connections


@dataclass(frozen=True)
class Started:
    """A server that is up, and what feeds it."""

    contender: Contender
    process: ServerProcess
    port: int
    publisher: Publisher


def _node(script: str) -> Callable[[int, str], Launch]:
    def launch(port: int, redis_url: str) -> Launch:
        path = packages.install() / script
        return Launch(
            ["node", str(path), str(port), redis_url, CHANNEL], ready=lambda: accepts(port)
        )

    return launch


def _fastapi(port: int, redis_url: str) -> Launch:
    script = packages.SOURCE / "fastapi_route.py"
    command = [sys.executable, str(script), str(port), redis_url, CHANNEL]
    return Launch(command, ready=lambda: accepts(port))


CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("ws", "ws (Node)", PLAIN, _node("ws.mjs"), PlainPublisher),
        Contender(
            "socketio",
            "socket.io + redis-adapter (Node)",
            SOCKET_IO,
            _node("socketio.mjs"),
            SocketIoPublisher,
        ),
        Contender("uws", "uWebSockets (C++)", PLAIN, _node("uws.mjs"), PlainPublisher),
        Contender("fastapi", "FastAPI route", PLAIN, _fastapi, PlainPublisher),
    )
}


@contextlib.contextmanager
def started(
    contender: Contender, broker: Broker, cores: Cores, directory: Path
) -> Iterator[Started]:
    """Run a server on its core for the length of the block."""
    port = free_port()
    launch = contender.launch(port, broker.url)
    with running(
        contender.name,
        launch.command,
        cores=cores.server,
        directory=directory,
        env=launch.env,
    ) as process:
        process.wait_ready(launch.ready)
        with contender.publisher(broker.url) as publisher:
            yield Started(contender, process, port, publisher)
