"""Bytes of clients of a gateway: request heads, WebSocket frames, messages.

Everything from the TCP connection to the handlers is the gateway's own; only Redis is missing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry
from uvicorn.config import Config
from uvicorn.server import ServerState

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Event
from clarion_contract.identity.tokens import verifier_of
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.clients.admission import Admission
from clarion_gateway.clients.asks import Asks
from clarion_gateway.clients.host import GatewayHost
from clarion_gateway.clients.identification import Identification
from clarion_gateway.clients.identity_changes import IdentityChanges
from clarion_gateway.clients.inbox import Inboxes
from clarion_gateway.clients.memberships import Memberships
from clarion_gateway.clients.origins import Origins
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.clients.topics import Topics
from clarion_gateway.clients.user_limits import UserLimits
from clarion_gateway.clients.welcoming import Welcoming
from clarion_gateway.connections.connection import Connection
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.inbound import Inbound
from clarion_gateway.connections.keepalive import Sweeper
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.transports.http import GatewayHttpProtocol, gateway_protocol
from clarion_gateway.transports.public import public_app
from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.native import PLAIN
from tests.fuzz.answers import check_answer
from tests.fuzz.bugs import nothing_fails
from tests.fuzz.target import Broken
from tests.fuzz.transport import LONG_SECONDS, FakeTransport, finish, piece_bytes
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.recorder import frames_of
from tests.gateway.recorder import settings as gateway_settings

_MESSAGE_MAX_BYTES = 1_024


class _NoBus:
    """The parts of a gateway that need Redis: always there, and empty."""

    position = 1

    async def join(self, audiences: Iterable[Audience]) -> None:
        pass

    @contextlib.asynccontextmanager
    async def joined(self, audiences: Iterable[Audience]) -> AsyncIterator[None]:
        yield

    def interned(self, audiences: Iterable[Audience]) -> tuple[Audience, ...]:
        return tuple(audiences)

    def unconfirmed(self, audiences: Iterable[Audience]) -> int:
        return 0

    async def ask(self, connection: Connection, user: str | None, asked: Any) -> Any:
        return asked

    def past(self, message: object) -> None:
        return None

    def last_values(self, audiences: object) -> None:
        return None

    def opening_past(self, *_: object) -> None:
        return None

    async def glance(self, clients: Sequence[object]) -> list[None]:
        return [None] * len(clients)

    async def collect(self, *_: Any) -> None:
        return None

    async def send(self, connection: Connection, missed: list[Event]) -> None:
        pass

    def refusal(self, claims: object) -> None:
        return None

    @contextlib.asynccontextmanager
    async def between_rounds(self, *_: object) -> AsyncIterator[None]:
        yield

    @contextlib.contextmanager
    def coming(self, topics: object) -> Iterator[None]:
        yield

    async def save(self, connections: object) -> None:
        pass

    def end(self, connection: Connection) -> None:
        """No room was taken."""


class Gateway:
    """A gateway's public port on a clock of its own, and one connection to it."""

    def __init__(self) -> None:
        self.loop = ClockworkLoop()
        settings, config, metrics = _lasting()
        bus: Any = _NoBus()
        hub = Hub()
        sweeper = Sweeper(ping_interval_seconds=25, token_grace_seconds=30)
        _, verifier = verifier_of(settings)
        identification = Identification(verifier, bus, metrics)
        users = UserLimits(hub, settings)
        topics = Topics(metrics, max_per_connection=settings.max_topics_per_connection)
        admission = Admission(
            hub,
            bus,
            Welcoming(hub, bus, bus, bus, metrics, settings),
            identification,
            metrics,
            settings,
            users=users,
            topics=topics,
            grants=bus,
            sweeper=sweeper,
        )
        identities = IdentityChanges(
            hub,
            bus,
            identification,
            users,
            topics,
            bus,
            bus,
            sweeper,
            metrics,
            wait_seconds=10,
        )

        def spawn(name: str, job: Any) -> object:
            return self.loop.create_task(job, name=name)

        memberships = Memberships(hub, bus, bus, topics, bus, bus, bus, metrics, wait_seconds=10)
        inbound = Inbound(1 << 30)
        host = GatewayHost(bus, Asks(metrics, max_per_connection=16), inbound)
        inboxes = Inboxes(
            identities,
            memberships,
            _handlers(),
            host,
            metrics,
            spawn,
            settings,
            inbound,
        )
        origins = Origins(settings.allowed_origins)
        sessions = Sessions(
            admission,
            hub,
            inboxes,
            sweeper,
            metrics,
            origins,
            spawn,
            settings,
            subscription=bus,
        )
        self.transport = FakeTransport(self.loop)
        self._protocol = gateway_protocol(sessions)(config, ServerState(), {}, self.loop)
        self.transport.connect(self._protocol)

    @property
    def is_http(self) -> bool:
        """Whether it has not become a WebSocket or an event stream."""
        return isinstance(self.transport.get_protocol(), GatewayHttpProtocol)


def parse_head(data: bytes) -> None:
    """A request, or what stands in its place, on a new connection."""
    with running_gateway() as gateway:
        gateway.transport.say(data[1:], piece_bytes(data))
        if gateway.is_http:
            gateway.loop.advance(LONG_SECONDS)
            if not gateway.transport.lost:
                raise Broken("nothing ends this connection")
        check_answer(bytes(gateway.transport.written))


def parse_frames(data: bytes) -> None:
    """Whatever comes in on an open WebSocket."""
    extensions = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if data[:1] >= b"\x80" else b""
    with running_gateway() as gateway:
        gateway.transport.say(_HANDSHAKE % extensions, 1 << 20)
        gateway.transport.say(data[1:], piece_bytes(data))
        check_answer(bytes(gateway.transport.written))


def parse_message(data: bytes) -> None:
    """The text of a message."""
    try:
        data.decode()  # as sessions do first
        message = PLAIN.decode(data)
    except (Malformed, UnicodeDecodeError):
        return
    # It goes back to the client as a part of an answer.
    answer = PLAIN.reply(message.ref, b"null")
    ref = json.loads(frames_of(answer)[0].data)["ref"]
    if not isinstance(ref, int | float | str | None):
        raise Broken(f"{message.ref!r} was taken for a ref")


_HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n%b\r\n"
)


@contextlib.contextmanager
def running_gateway() -> Iterator[Gateway]:
    """A gateway for one input; nothing in it may fail."""
    gateway = Gateway()
    try:
        with nothing_fails(gateway.loop):
            yield gateway
            gateway.transport.abort()
            gateway.loop.settle()
    finally:
        finish(gateway.loop)


@cache
def _lasting() -> tuple[GatewaySettings, Config, Metrics]:
    """What takes long to make, and is the same for every connection."""
    settings = gateway_settings(
        compression=True,
        handshake_seconds=5,
        message_max_bytes=_MESSAGE_MAX_BYTES,
        request_head_max_bytes=2_048,
    )
    config = Config(
        public_app(settings, lambda: False, lambda _: {}),
        log_config=None,
        access_log=False,
        ws="none",
    )
    config.load()
    return settings, config, Metrics(CollectorRegistry())


@cache
def _handlers() -> Handlers:
    handlers = Handlers()

    async def echo(message: Any, _: Any) -> Any:
        return message

    handlers.on("echo")(echo)
    return handlers
