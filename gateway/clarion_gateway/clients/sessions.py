"""The calls that transports make: a connection opens, receives a message, ends.

It stands between the sockets, which know nothing of messages, and the parts that do: admission,
handlers, the hub. It also limits how much one client may send.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

from clarion_contract.service.http_port import HttpLimits, Port
from clarion_contract.service.supervisor import Spawn
from clarion_contract.service.token_bucket import TokenBucket
from clarion_gateway.clients.addresses import Addresses
from clarion_gateway.clients.admission import Admission, Joining
from clarion_gateway.clients.hooks import ConnectionHooks
from clarion_gateway.clients.inbox import Inboxes
from clarion_gateway.clients.opening import Opening
from clarion_gateway.clients.origins import Origins, RefusedOrigins
from clarion_gateway.clients.plain_handshakes import PlainHandshakes
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.flushes import Flushes
from clarion_gateway.connections.heartbeats import Heartbeats
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.keepalive import Sweeper
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.wire import frames
from clarion_gateway.wire.engineio.heartbeat import Timing
from clarion_gateway.wire.engineio.sids import Sids
from clarion_gateway.wire.messages import Answer, ClientMessage, Malformed, Message, Subscribe
from clarion_gateway.wire.socketio.format import SOCKETIO, SocketIoFormat
from clarion_gateway.wire.socketio.recovery import RecoverableFormat, Recovery

# A connection may send so many malformed messages: the author of a client with a bug should see
# the errors before the connection closes.
_MALFORMED_MAX: Final = 10


class _Received:
    """Limits on the messages of one connection; exists from its first message on."""

    __slots__ = ("bucket", "malformed", "topics")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.malformed = 0
        self.topics: TokenBucket | None = None  # since it first subscribed


class Sessions:
    """The life of every connection of the pod.

    Attributes:
        closing: connections whose close frame waits for the client's answer.
        port: the TCP connections of the public port.
        inbound: the memory of what clients have sent and nobody has handled yet.
        outbound: the memory of what waits for clients.
        behind_bytes: how much may wait for a client before that counts.
        heartbeats: of the sessions of Engine.IO.
        unconnected: sessions of Engine.IO that no connection has been asked for on. They count as
            connections do.
        carriers: sessions of Engine.IO by the transport that carries them.
        polled: sessions that were polled once, by their secret ids.
        flushes: of those whose polls hang.
        sids: makes and reads these ids.
        recovery: makes and reads what clients of Socket.IO recover by.
        recoverable: the format of those that can.
        namespaces: the formats of the application's namespaces of Socket.IO, by name.
    """

    def __init__(  # noqa: PLR0913 - all that a client meets, joined in app.py
        self,
        admission: Admission,
        hub: Hub,
        inboxes: Inboxes,
        sweeper: Sweeper,
        metrics: Metrics,
        origins: Origins,
        spawn: Spawn,
        settings: GatewaySettings,
        *,
        subscription: Joining | None = None,
        hooks: ConnectionHooks | None = None,
        namespaces: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without connections.

        Args:
            subscription: joins the audiences of plain clients together; None: each for itself.
        """
        self.closing = 0
        self.port = Port(
            HttpLimits(
                head_max_bytes=settings.request_head_max_bytes,
                request_seconds=settings.handshake_seconds,
                idle_seconds=None,
            ),
            max_sockets=settings.max_sockets,
            refused=lambda reason: metrics.requests_refused.labels(reason).inc(),
        )
        self.metrics = metrics
        self.inbound = inboxes.inbound
        self.outbound = hub.outbound
        self.origins = origins
        self.refused_origins = RefusedOrigins()
        self.settings = settings
        self.behind_bytes = settings.behind_bytes
        self.heartbeats = Heartbeats(
            Timing(settings.socketio_ping_interval_seconds, settings.socketio_ping_timeout_seconds)
        )
        self.unconnected = 0
        self.carriers: Counter[str] = Counter()
        self.polled: dict[str, object] = {}
        self.flushes = Flushes()
        self.recovery = Recovery()
        self.sids = Sids(lambda: self.recovery.key)
        self.recoverable = RecoverableFormat(SOCKETIO.name, frames.text, self.recovery)
        self.namespaces = {
            name: SocketIoFormat(SOCKETIO.name, frames.text, name) for name in namespaces
        }
        self.addresses = Addresses(settings.trusted_proxies)
        self._admission = admission
        self._hub = hub
        self._inboxes = inboxes
        self._sweeper = sweeper
        self._spawn = spawn
        self._hooks = hooks
        self._rate = settings.messages_per_second
        self._burst = settings.message_burst
        self._clock = clock
        self._received: dict[Connection, _Received] = {}
        self._plain: PlainHandshakes | None = None
        if subscription is not None:
            self._plain = PlainHandshakes(
                admission,
                subscription,
                spawn,
                seconds=settings.handshake_seconds,
                welcomed=self._welcomed,
            )

    def refuse_early(self, address: str | None) -> Close | None:
        """The close for a new client before any work is spent on it; None: it may go on.

        Args:
            address: where the client is; None: not known.
        """
        close = self._admission.refuse_early(self.unconnected)
        return close or self._admission.address_limits.refusal(address)

    def open(self, connection: Connection, opening: Opening) -> None:
        """Begin to admit a connection. Its messages wait in its inbox until it is live."""
        self._admission.begin(opening.address)
        if self._plain is None or not self._plain.take(connection, opening):
            self._spawn("handshake", self._open(connection, opening))

    def receive(self, connection: Connection, message: bytes) -> None:
        """Take a whole text message from a client.

        Args:
            message: without the transport's frames.
        """
        if not self.spend(connection):
            return
        try:
            message.decode()  # formats pass parts of it on without decoding them
            decoded = connection.format.decode(message)
        except Malformed as error:
            self._malformed(connection, str(error))
        except UnicodeDecodeError:
            self.metrics.messages.labels("invalid_text").inc()
            connection.close(close_codes.INVALID_TEXT)
        else:
            self.take(connection, decoded, len(message))

    def take(
        self, connection: Connection, message: ClientMessage | Answer, size_bytes: int
    ) -> None:
        """Take a message that the transport has decoded, and has called `spend` for.

        Args:
            size_bytes: of the message as the client sent it.
        """
        if isinstance(message, Message):
            self._inboxes.put(connection, message, size_bytes)
        elif isinstance(message, Answer):
            self._inboxes.answered(connection, message)
        elif not isinstance(message, Subscribe) or self._may_ask(connection, message):
            self._inboxes.put(connection, message, size_bytes)

    def spend(self, connection: Connection) -> bool:
        """Take one message off the connection's budget; close the connection if it is used up."""
        if connection.state is State.CLOSED:
            return False
        if self._affords(connection):
            return True
        self.metrics.messages.labels("rate_limited").inc()
        connection.close(close_codes.RATE_LIMITED)
        return False

    def may_post(self, connection: Connection) -> bool:
        """Whether a message for the connection that came by a request of its own is to be taken.

        It counts against the connection's budget. The stream stays open past it, since the
        request can be refused.
        """
        if not self._inboxes.is_full(connection) and self._affords(connection):
            return True
        self.metrics.messages.labels("rate_limited").inc()
        return False

    def _affords(self, connection: Connection) -> bool:
        """Take one message off the connection's budget; False: it is used up."""
        now = self._clock()
        received = self._received_of(connection, now)
        return received.bucket.take(now, rate=self._rate, burst=self._burst)

    def _received_of(self, connection: Connection, now: float) -> _Received:
        received = self._received.get(connection)
        if received is None:
            received = self._received[connection] = _Received(TokenBucket(self._burst, now))
        return received

    def succeed(self, before: Connection, after: Connection) -> None:
        """Let a connection go on with the budget of the one before it on the same transport."""
        received = self._received.pop(before, None)
        if received is not None:
            self._received[after] = received

    def forget(self, connection: Connection) -> None:
        """Forget a connection that was never opened."""
        self._received.pop(connection, None)

    def ended(self, connection: Connection, close: Close) -> None:
        """Forget a connection that closes or is gone, and count it: the first call only."""
        if connection.state is State.CLOSED:
            return
        if self._hooks is not None:
            self._hooks.ended(connection, close)
        self._hub.remove(connection)
        self._sweeper.remove(connection)
        self._inboxes.ended(connection)
        self._received.pop(connection, None)
        self.metrics.closed(close.code, close.label)

    async def _open(self, connection: Connection, opening: Opening) -> None:
        await self._admission.open(connection, opening)
        if connection.state is not State.CLOSED:
            self._welcomed(connection)

    def _welcomed(self, connection: Connection) -> None:
        self._inboxes.welcomed(connection)
        connection.socket.resume_reading()

    def _may_ask(self, connection: Connection, message: Subscribe) -> bool:
        """Take topics off the connection's budget; refuse the message if it is used up."""
        settings, now = self.settings, self._clock()
        rate, burst = settings.subscribes_per_second, settings.subscribe_burst
        received = self._received_of(connection, now)
        if received.topics is None:
            received.topics = TokenBucket(burst, now)
        # Topics that can only be refused cost no more than those that may be heard.
        count = min(len(message.topics), settings.max_topics_per_connection)
        if received.topics.take(now, rate=rate, burst=burst, amount=count):
            return True
        self.metrics.topics_refused.labels("rate_limited").inc(len(message.topics))
        # Rounded up: the client may ask again after that time.
        wait_seconds = math.ceil(received.topics.wait_seconds(rate=rate) * 10) / 10
        connection.write(
            connection.format.error(
                message.ref,
                "rate_limited",
                f"expected at most {rate:g} topics a second, {burst} at once; "
                f"try again in {wait_seconds:.1f} seconds",
            )
        )
        return False

    def _malformed(self, connection: Connection, message: str) -> None:
        self.metrics.messages.labels("malformed").inc()
        received = self._received[connection]  # `spend` has made it
        received.malformed += 1
        connection.write(connection.format.error(None, Malformed.code, message))
        if received.malformed > _MALFORMED_MAX:
            connection.close(close_codes.MALFORMED)
