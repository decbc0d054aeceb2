"""A connection without a socket that records what is written to it, and parsers for clients."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from prometheus_client import CollectorRegistry
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.protocol import State as FrameState
from websockets.uri import parse_uri

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.event import Event
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import Connection, State, discard
from clarion_gateway.connections.identity import Identity
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.wire import frames as server_frames
from clarion_gateway.wire.format import WireFormat
from clarion_gateway.wire.native import PLAIN
from tests.conftest import SECRET

AUDIENCES = (ALL, AUTHENTICATED, Audience("user", "alice"), Audience("user", "bob"))


def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def sample(of: Metrics, name: str, **labels: str) -> float:
    return of.registry.get_sample_value(name, labels) or 0.0


def settings(**overrides: Any) -> GatewaySettings:
    return GatewaySettings(**{"jwt_secret": SECRET, "pod": "pod-test", **overrides})


def event(
    id_: int,
    audience: Audience = ALL,
    *,
    prev: int = 0,
    type_: str = "tick",
    data: bytes = b"{}",
    exclude: str | None = None,
    trace: str | None = None,
    history: bool = True,
) -> Event:
    return Event(id_, prev, audience, type_, data, exclude, trace, history)


def frames_of(data: bytes, *, deflate: bool = False) -> list[Frame]:
    """A server's bytes, parsed by `websockets`' client-side core, which must use all of them."""
    client = ClientProtocol(parse_uri("ws://test"), state=FrameState.OPEN, max_size=None)
    if deflate:
        bits = server_frames.DEFLATE_WINDOW_BITS
        client.extensions = [PerMessageDeflate(True, True, bits, bits)]
    client.receive_data(data)
    received = [frame for frame in client.events_received() if isinstance(frame, Frame)]
    assert client.parser_exc is None, client.parser_exc
    client.receive_eof()
    assert not isinstance(client.parser_exc, EOFError) or "end of stream" in str(client.parser_exc)
    return received


def messages_of(data: bytes, *, deflate: bool = False) -> list[dict[str, Any]]:
    return [json.loads(bytes(frame.data)) for frame in frames_of(data, deflate=deflate)]


class Recorder(Connection):
    """A connection that is its own socket: a client that takes everything at once."""

    __slots__ = (
        "awaiting_pong",
        "closed_with",
        "is_reading",
        "pings",
        "taking",
        "unsent",
        "written",
    )

    def __init__(self, user: str | None = None, wire_format: WireFormat = PLAIN) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append
        super().__init__(wire_format, self)
        self.identity = Identity(user)
        self.awaiting_pong = False
        self.closed_with: Close | None = None
        self.pings = 0
        self.is_reading = True
        self.unsent = 0
        self.taking = asyncio.Event()
        self.taking.set()

    @property
    def messages(self) -> list[dict[str, Any]]:
        return messages_of(b"".join(self.written))

    @property
    def event_ids(self) -> list[int]:
        return [int(message["id"]) for message in self.messages if message["kind"] == "event"]

    @property
    def unsent_bytes(self) -> int:
        return self.unsent

    def ping(self) -> None:
        self.pings += 1
        self.awaiting_pong = True

    async def drained(self) -> None:
        await self.taking.wait()

    def close(self, close: Close, *, message: bytes = b"") -> None:
        if message:
            self.write(message)
        self.closed_with = self.closed_with or close
        self.write = discard
        self.state = State.CLOSED

    def cut(self, close: Close) -> None:
        self.close(close)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True
