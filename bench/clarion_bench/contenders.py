"""The servers under test: how to start each of them, connect to it and feed it.

A contender says what to run; `started` runs it. To add a server, add a row to CONTENDERS.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from clarion_bench import centrifugo, clarion, packages
from clarion_bench.dialects import (
    CLARION,
    CLARION_DEFLATE,
    PLAIN,
    PLAIN_DEFLATE,
    SOCKET_IO,
    SOCKET_IO_POLLING,
    Dialect,
)
from clarion_bench.laboratory import Laboratory
from clarion_bench.launch import Launch
from clarion_bench.processes import ServerProcess, accepts, free_port
from clarion_bench.publishers import CHANNEL, PlainPublisher, Publisher, SocketIoPublisher


@dataclass(frozen=True)
class Contender:
    """One server under test."""

    name: str
    label: str
    dialect: Dialect
    launch: Callable[[int, str], Launch]
    publisher: Callable[[str], Publisher]
    queries: Callable[[int], list[str]]


@dataclass(frozen=True)
class Started:
    """A running server, and the publisher that feeds it."""

    contender: Contender
    process: ServerProcess
    port: int
    publisher: Publisher


def _anonymous(connections: int) -> list[str]:
    return [""] * connections


def _node(script: str, *options: str) -> Callable[[int, str], Launch]:
    def launch(port: int, redis_url: str) -> Launch:
        path = packages.install() / script
        return Launch(
            ["node", str(path), str(port), redis_url, CHANNEL, *options],
            ready=lambda: accepts(port),
        )

    return launch


def _fastapi(port: int, redis_url: str) -> Launch:
    script = packages.SOURCE / "fastapi_route.py"
    command = [sys.executable, str(script), str(port), redis_url, CHANNEL]
    return Launch(command, ready=lambda: accepts(port))


def _peer(
    name: str, label: str, launch: Callable[[int, str], Launch], dialect: Dialect = PLAIN
) -> Contender:
    publisher = PlainPublisher if dialect.path == PLAIN.path else SocketIoPublisher
    return Contender(name, label, dialect, launch, publisher, _anonymous)


def _clarion(
    name: str, label: str, queries: Callable[[int], list[str]], dialect: Dialect = CLARION
) -> Contender:
    launch = clarion.compressing_gateway if dialect.deflate else clarion.gateway
    return Contender(name, label, dialect, launch, clarion.to_all, queries)


CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        _clarion("clarion", "Clarion", clarion.queries),
        _clarion("clarion-anonymous", "Clarion, open", _anonymous),
        _clarion("clarion-socketio", "Clarion, Socket.IO", clarion.more_queries, SOCKET_IO),
        _clarion("clarion-polling", "Clarion, polling", clarion.more_queries, SOCKET_IO_POLLING),
        _clarion("clarion-deflate", "Clarion, deflate", clarion.queries, CLARION_DEFLATE),
        _peer("ws", "ws", _node("ws.mjs")),
        _peer("ws-deflate", "ws, deflate", _node("ws.mjs", "deflate"), PLAIN_DEFLATE),
        _peer("socketio", "socket.io", _node("socketio.mjs"), SOCKET_IO),
        _peer("socketio-polling", "socket.io, polling", _node("socketio.mjs"), SOCKET_IO_POLLING),
        _peer("uws", "uWebSockets", _node("uws.mjs")),
        _peer("uws-deflate", "uWS, deflate", _node("uws.mjs", "deflate"), PLAIN_DEFLATE),
        _peer("fastapi", "FastAPI route", _fastapi),
        Contender(
            "centrifugo",
            "Centrifugo",
            centrifugo.DIALECT,
            centrifugo.node,
            centrifugo.CentrifugoPublisher,
            centrifugo.queries,
        ),
    )
}
DEFAULT_SERVERS = ("clarion", "ws", "socketio", "uws", "fastapi")


@contextlib.contextmanager
def started(contender: Contender, bench: Laboratory) -> Iterator[Started]:
    """Run a server on its core during the block."""
    port = free_port()
    launch = contender.launch(port, bench.broker.url)
    with (
        bench.serving(contender.name, launch) as process,
        contextlib.closing(contender.publisher(bench.broker.url)) as publisher,
    ):
        yield Started(contender, process, port, publisher)
