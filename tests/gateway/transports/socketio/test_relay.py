"""`clarion_gateway.transports.socketio.relay`: what tests/integration/test_socketio_hops.py cannot
bring about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socketio.relay import Relay


class Client:
    """The transport of a client."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass


class Hops:
    """The way to a pod that closes each connection as soon as it has accepted it."""

    def __init__(self) -> None:
        self.relayed: dict[Relay, None] = {}
        self.is_closed = False
        self.counted: list[tuple[str, str]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.hop = SimpleNamespace(request=lambda *_, **__: b"head")
        self.addresses = SimpleNamespace(known=lambda _: ("127.0.0.1", 1))
        self.links = SimpleNamespace(is_full=False, connect=self.connect)
        self.sessions = SimpleNamespace(port=SimpleNamespace(open=1))

    async def connect(self, _address: Any, make: Callable[[], Relay]) -> Relay:
        self.sessions.port.open += 1
        far = make()
        far.connection_lost(ConnectionResetError())
        return far

    def count(self, kind: str, outcome: str) -> None:
        self.counted.append((kind, outcome))

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))


def test_a_pod_that_hangs_up_at_once_counts_as_lost() -> None:
    hops, client = Hops(), Client()

    async def relayed() -> None:
        relay = Relay(hops, client)  # type: ignore[arg-type]
        relay.begin(ConnectionRequest("/socket.io/", "sid=1", []), "mark", b"")
        await asyncio.gather(*hops.tasks)

    asyncio.run(relayed())
    assert client.written.startswith(b"HTTP/1.1 400 ")
    assert client.is_closed
    assert hops.counted == [("upgrade", "lost")]
    assert hops.sessions.port.open == 1
