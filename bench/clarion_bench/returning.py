"""Clients that return: each loses its connection and reconnects as its own system documents it.

There is one asyncio loop and one protocol object per client. An open connection has no task. Every
client checks the sequence numbers of its events: a skipped number was lost, a repeated one doubled.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from clarion_bench.dialects import CLARION, SOCKET_IO, Dialect
from clarion_bench.frames import Frame, FrameParser, Opcode, UnexpectedFrameError, encode_client
from clarion_bench.payload import decode, numbered

_EVENT = b'{"kind":"event","id":"'
_OPENING_AT_ONCE = 100
_POLL_SECONDS = 0.02


class Policy(Protocol):
    """The way in which the clients of one system reconnect."""

    dialect: Dialect

    def query(self, client: "Client") -> str:
        """The text that the next attempt appends to the path."""

    def heed(self, client: "Client", message: bytes) -> None:
        """Remember what a message says about reconnecting."""

    def wait_seconds(self, client: "Client") -> float:
        """The seconds before the next attempt, after ``client.failures`` failures."""


class ClarionPolicy:
    """docs/protocol.md, "When to come back": the server's hint or full jitter, and `since`."""

    dialect = CLARION

    def query(self, client: "Client") -> str:
        """The token, and the position if there is one."""
        if client.position is None:
            return client.credentials
        since = f"since={client.position.decode()}"
        return f"{client.credentials}&{since}" if client.credentials else f"?{since}"

    def heed(self, client: "Client", message: bytes) -> None:
        """Take over the position and the hint."""
        if message.startswith(_EVENT):
            client.position = message[len(_EVENT) : message.index(b'"', len(_EVENT))]
            return
        fields = json.loads(message)
        if "id" in fields:
            client.position = str(fields["id"]).encode()
        if fields["kind"] == "gap" or fields.get("resumed") is False:
            client.told += 1
        if fields["kind"] == "reconnect":
            client.hint_seconds = fields["after_ms"] / 1_000

    def wait_seconds(self, client: "Client") -> float:
        """The hint, or a random part of 250 ms, doubled with each failure up to 10 s."""
        if client.hint_seconds is not None:
            return client.hint_seconds
        return random.random() * min(10.0, 0.25 * 2.0**client.failures)  # noqa: S311 - no secret


class SocketIoPolicy:
    """socket.io-client's defaults: 1 s, doubled with each failure up to 5 s, half of it random.

    https://socket.io/docs/v4/client-options/#reconnectiondelay
    """

    dialect = SOCKET_IO

    def query(self, client: "Client") -> str:
        """Empty: the Redis adapter has no connection state recovery."""
        return client.credentials

    def heed(self, client: "Client", message: bytes) -> None:
        """Do nothing: no message changes how these clients reconnect."""

    def wait_seconds(self, client: "Client") -> float:
        """Like `Backoff` of socket.io-client: the delay plus or minus half of it, at most 5 s."""
        delay = 2.0**client.failures
        return min(5.0, delay * random.uniform(0.5, 1.5))  # noqa: S311 - no secret


class Client(asyncio.Protocol):
    """One client over all its connections.

    Attributes:
        credentials: the client's query string without a position.
        position: the last id that the server sent.
        hint_seconds: when to reconnect, according to the server.
        failures: attempts in a row without a connection.
        told: losses that the server reported.
        events: numbered events received.
        others: events without a number.
        lost: numbers that were skipped.
        doubled: numbers that came again or too late.
    """

    def __init__(self, crowd: "Returning", credentials: str) -> None:
        self._crowd = crowd
        self.credentials = credentials
        self.position: bytes | None = None
        self.hint_seconds: float | None = None
        self.failures = 0
        self.told = 0
        self.events = 0
        self.others = 0
        self.lost = 0
        self.doubled = 0
        self._last: int | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = FrameParser()
        self._head = b""
        self._upgraded = False
        self._greeted = 0
        self.open = False
        self.lost_at: float | None = None

    async def connect(self) -> None:
        """Make one attempt; the methods below handle its outcome."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, "127.0.0.1", self._crowd.port)
        except OSError:
            self._come_back()

    def close(self) -> None:
        """Leave for good."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the WebSocket handshake."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = FrameParser()
        self._head, self._upgraded, self._greeted = b"", False, 0
        policy = self._crowd.policy
        query = policy.query(self)
        # The dialect's own path may already contain a query.
        if "?" in policy.dialect.path:
            query = query.replace("?", "&", 1)
        self._transport.write(policy.dialect.request(self._crowd.port, query))

    def data_received(self, data: bytes) -> None:
        """Read the response's head, then frames."""
        if not self._upgraded:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head[:16]:
                self._crowd.refused += 1
                self.close()
                return
            self._upgraded = True
        try:
            for frame in self._parser.feed(data):
                self._take(frame)
        except UnexpectedFrameError:
            self._crowd.refused += 1
            self.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Reconnect, unless the whole crowd leaves."""
        self._transport = None
        if self.open:
            self.open = False
            self.lost_at = time.monotonic()
            self._crowd.closed(self)
        self._come_back()

    def _take(self, frame: Frame) -> None:
        transport, dialect = self._transport, self._crowd.policy.dialect
        if transport is None:
            return
        if frame.opcode == Opcode.PING:
            transport.write(encode_client(Opcode.PONG, frame.payload))
        elif frame.opcode == Opcode.CLOSE:
            transport.close()
        elif frame.payload in dialect.answers:
            transport.write(encode_client(Opcode.TEXT, dialect.answers[frame.payload]))
        else:
            self._message(transport, frame.payload)

    def _message(self, transport: asyncio.Transport, message: bytes) -> None:
        self._crowd.policy.heed(self, message)
        greeting = self._crowd.policy.dialect.greeting
        if self._greeted < len(greeting):
            expected, reply = greeting[self._greeted]
            if message.startswith(expected):
                self._greeted += 1
                if reply:
                    transport.write(encode_client(Opcode.TEXT, reply))
                if self._greeted == len(greeting):
                    self._opened()
        elif numbered(message):
            self._count(decode(message)[0])
        elif message.startswith(_EVENT):
            self.others += 1

    def _opened(self) -> None:
        self.open = True
        self.failures, self.hint_seconds = 0, None
        self._crowd.opened(self)

    def _count(self, number: int) -> None:
        if self._last is not None and number <= self._last:
            self.doubled += 1
            return
        if self._last is not None:
            self.lost += (number - self._last) // self._crowd.stride - 1
        self._last = number
        self.events += 1

    def _come_back(self) -> None:
        if self._crowd.leaving:
            return
        wait_seconds = self._crowd.policy.wait_seconds(self)
        self.failures += 1
        self.hint_seconds = None
        asyncio.get_running_loop().call_later(wait_seconds, self._crowd.send, self)


class Returning:
    """All clients of one system.

    Attributes:
        port: the port for new connections, as a load balancer would choose it.
        stride: the difference between consecutive numbers that a client should get.
        refused: attempts that a server refused.
        opened_at: the times at which clients were welcomed, by the monotonic clock.
        away_seconds: how long clients were without a connection, once per loss.
    """

    def __init__(
        self, policy: Policy, port: int, credentials: Sequence[str], stride: int = 1
    ) -> None:
        self.policy = policy
        self.port = port
        self.stride = stride
        self.clients = [Client(self, query) for query in credentials]
        self.refused = 0
        self.attempts = 0
        self.leaving = False
        self.opened_at: list[float] = []
        self.away_seconds: list[float] = []
        self.first_closed_at: float | None = None
        self._open = 0
        self._attempts: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """Number of clients that have a connection."""
        return self._open

    async def connect(self, within_seconds: float) -> None:
        """Open every client's first connection, a hundred at a time."""
        waiting = list(self.clients)
        async with asyncio.timeout(within_seconds):
            while waiting:
                room = max(0, _OPENING_AT_ONCE - (self.attempts - len(self.opened_at)))
                batch, waiting = waiting[:room], waiting[room:]
                for client in batch:
                    self.send(client)
                await asyncio.sleep(_POLL_SECONDS / 2)
            await self.until(lambda: self._open == len(self.clients), within_seconds)

    async def until(self, condition: Callable[[], bool], within_seconds: float) -> None:
        """Return once the condition holds.

        Raises:
            TimeoutError: the condition did not hold in time.
        """
        async with asyncio.timeout(within_seconds):
            while not condition():  # noqa: ASYNC110 - counters of every client, not one moment
                await asyncio.sleep(_POLL_SECONDS)

    async def close(self) -> None:
        """End every connection and every attempt."""
        self.leaving = True
        for client in self.clients:
            client.close()
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        await asyncio.sleep(0)

    def send(self, client: Client) -> None:
        """Start a client's attempt to connect."""
        if self.leaving:
            return
        self.attempts += 1
        attempt = asyncio.get_running_loop().create_task(client.connect())
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)

    def opened(self, client: Client) -> None:
        """A client was welcomed."""
        now = time.monotonic()
        self._open += 1
        self.opened_at.append(now)
        if client.lost_at is not None:
            self.away_seconds.append(now - client.lost_at)

    def closed(self, client: Client) -> None:
        """A client that had been welcomed lost its connection."""
        self._open -= 1
        if self.first_closed_at is None:
            self.first_closed_at = client.lost_at


def highest_rate(moments: Sequence[float], window_seconds: float = 1.0) -> float:
    """The most moments in any window of that length, per second. ``moments`` must be in order."""
    most = first = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - window_seconds:
            first += 1
        most = max(most, last - first + 1)
    return most / window_seconds
