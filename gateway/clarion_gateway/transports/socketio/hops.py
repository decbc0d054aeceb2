"""Passes requests on to the pod that has the session, so that no client needs sticky sessions.

A sid names its pod, and is signed (`clarion_gateway.wire.engineio.sids`). The pod's address comes
out of the heartbeats of pods that are alive; nothing of a request leads anywhere else. If the pod
does not answer, the client hears that its session is unknown, and begins another one.

A link is a TCP connection to another pod's internal port. It carries one request at a time, and
waits for the next one for a while. No request takes a task, but for a link that must be opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final, TypeVar, cast

import httptools

from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.fleet.pod_addresses import Address, PodAddresses
from clarion_gateway.transports.socketio.exchange import Exchange
from clarion_gateway.wire.engineio import errors
from clarion_gateway.wire.engineio.errors import EngineError
from clarion_gateway.wire.engineio.hop import Hop

_CONNECT_SECONDS: Final = 3.0
# Shorter than the other side keeps a link, so that no request meets one that is being closed.
_IDLE_SECONDS: Final = 30.0
# An answer is this much late before the pod counts as lost.
_LATE_SECONDS: Final = 5.0

AnyProtocol = TypeVar("AnyProtocol", bound=asyncio.Protocol)


class Hops:
    """The links of a pod to all others.

    Attributes:
        sessions: the pod's; links count among its TCP connections.
        hop: signs requests.
        addresses: of the pods that are alive.
    """

    def __init__(self, sessions: Sessions, addresses: PodAddresses) -> None:
        self.sessions = sessions
        self.hop = Hop(lambda: sessions.recovery.key)
        self.addresses = addresses
        self.tasks: set[asyncio.Task[None]] = set()
        self._idle: dict[Address, dict[_Link, None]] = {}  # the newest one last
        self._opening = 0

    def mark_elsewhere(self, sid: str) -> str | None:
        """The mark of the other pod that has made a sid; None: no other pod has."""
        mark = self.sessions.sids.mark_of(sid)
        return None if mark == self.sessions.sids.mark else mark

    @property
    def is_full(self) -> bool:
        """Whether the pod has as many TCP connections as it may have."""
        port = self.sessions.port
        return port.open + self._opening >= port.max_sockets

    def pass_on(self, exchange: Exchange, sid: str) -> bool:
        """Pass a request on; returns whether its sid is that of another pod."""
        mark = self.mark_elsewhere(sid)
        if mark is None:
            return False
        passed_on = PassedOn(self, exchange, mark)
        exchange.carrier = passed_on
        if exchange.method == "GET":
            passed_on.begin(b"")
        else:
            exchange.go_on()
        return True

    def count(self, kind: str, outcome: str) -> None:
        """Count a request that was passed on, or was not."""
        self.sessions.metrics.engineio_hops.labels(kind, outcome).inc()

    # Links

    def idle(self, address: Address) -> _Link | None:
        """A link that is open and free; None: there is none."""
        links = self._idle.get(address)
        while links:
            link, _ = links.popitem()
            if not link.is_closing:
                return link
        return None

    def open_for(self, address: Address, passed_on: PassedOn) -> None:
        """Open a link for a request."""
        self.spawn(self._open(self.connect(address, lambda: _Link(self, address)), passed_on))

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run a coroutine to its end."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _open(
        self, connecting: Coroutine[None, None, _Link | None], passed_on: PassedOn
    ) -> None:
        link = await connecting
        if link is None:
            passed_on.lost()
        else:
            passed_on.use(link)

    def connect(
        self, address: Address, make: Callable[[], AnyProtocol]
    ) -> Coroutine[None, None, AnyProtocol | None]:
        """Open a TCP connection to another pod; None: it does not answer.

        The connection counts as soon as this is called: many requests may come at once.
        """
        self._opening += 1
        return self._connect(address, make)

    async def _connect(
        self, address: Address, make: Callable[[], AnyProtocol]
    ) -> AnyProtocol | None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                loop = asyncio.get_running_loop()
                _, protocol = await loop.create_connection(make, *address)
        except (OSError, TimeoutError):
            return None
        finally:
            self._opening -= 1
        return protocol

    def give_back(self, link: _Link, address: Address) -> None:
        """A link is free again."""
        self._idle.setdefault(address, {})[link] = None

    def forget(self, link: _Link, address: Address) -> None:
        """A link is gone."""
        links = self._idle.get(address, {})
        links.pop(link, None)
        if not links:
            self._idle.pop(address, None)

    def close(self) -> None:
        """Close the links that are free."""
        for links in list(self._idle.values()):
            for link in list(links):
                link.close()


class PassedOn:
    """A request on its way; its exchange's carrier."""

    __slots__ = ("_body", "_exchange", "_held_bytes", "_hops", "_link", "_mark")

    def __init__(self, hops: Hops, exchange: Exchange, mark: str) -> None:
        self._hops = hops
        self._exchange: Exchange | None = exchange
        self._mark = mark
        self._link: _Link | None = None
        self._body = b""
        self._held_bytes = 0

    def begin(self, body: bytes) -> None:
        """The whole request is there."""
        self._body = body
        address = self._hops.addresses.known(self._mark)
        if address is None:
            self._hops.spawn(self._find())
        else:
            self._go(address)

    async def _find(self) -> None:
        address = await self._hops.addresses.find(self._mark)
        if address is None:
            self.lost()
        else:
            self._go(address)

    def _go(self, address: Address) -> None:
        link = self._hops.idle(address)
        if link is not None:
            self.use(link)
        elif self._hops.is_full:
            self._refuse(errors.UNAVAILABLE, "full")
        else:
            self._hops.open_for(address, self)

    def use(self, link: _Link) -> None:
        """Send the request on a link."""
        exchange = self._exchange
        if exchange is None:  # the client is gone
            link.free()
            return
        request = self._hops.hop.request(
            exchange.method,
            exchange.request.query,
            exchange.request.headers,
            body=self._body,
        )
        if request is None or link.is_closing:
            link.free()
            self.lost()
            return
        self._link = link
        link.send(request, self)

    def answered(self, status: int, content_type: str, body: bytes) -> None:
        """The other pod has answered."""
        exchange = self._end()
        if exchange is not None:
            self._hops.count("request", "passed_on")
            exchange.answer(body, status=status, content_type=content_type)

    def lost(self) -> None:
        """The other pod is gone, and the session with it."""
        self._refuse(errors.UNKNOWN_SESSION, "lost")

    def _refuse(self, error: EngineError, outcome: str) -> None:
        exchange = self._end()
        if exchange is not None:
            self._hops.count("request", outcome)
            exchange.refuse(error)

    def _end(self) -> Exchange | None:
        exchange, self._exchange = self._exchange, None
        self._link = None
        self._body = b""
        self._hops.sessions.inbound.give_back(self._held_bytes)
        self._held_bytes = 0
        return exchange

    # Awaiting

    def grown(self, exchange: Exchange) -> None:
        """See `clarion_gateway.transports.socketio.exchange.Awaiting`."""
        grown_bytes = exchange.body_bytes - self._held_bytes
        if self._exchange is None or grown_bytes <= 0:
            return
        if exchange.body_bytes > self._hops.sessions.settings.message_max_bytes:
            self._refuse(errors.TOO_LARGE, "refused")
        elif self._hops.sessions.inbound.take(grown_bytes):
            self._held_bytes += grown_bytes
        else:
            self._refuse(errors.UNAVAILABLE, "full")

    def posted(self, exchange: Exchange) -> None:
        """See `clarion_gateway.transports.socketio.exchange.Awaiting`."""
        if self._exchange is not None:
            self.begin(exchange.body())

    def broken(self, exchange: Exchange) -> None:  # noqa: ARG002
        """See `clarion_gateway.transports.socketio.exchange.Awaiting`: the other pod is told."""
        link = self._link
        self._end()
        if link is not None:
            link.abort()

    def stop(self) -> None:
        """See `clarion_gateway.transports.socketio.exchange.Awaiting`."""
        link = self._link
        self._refuse(errors.UNAVAILABLE, "stopped")
        if link is not None:
            link.abort()


class _Link(asyncio.Protocol):
    """A TCP connection to another pod, with one request at a time."""

    def __init__(self, hops: Hops, address: Address) -> None:
        self._hops = hops
        self._address = address
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._request: PassedOn | None = None
        self._late: asyncio.TimerHandle | None = None
        self._content_type = ""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._hops.sessions.port.open += 1

    def send(self, request: bytes, passed_on: PassedOn) -> None:
        """Send a request."""
        self._rest()
        self._request = passed_on
        timing = self._hops.sessions.heartbeats.timing
        # A poll hangs until the next ping at the latest.
        seconds = timing.interval_seconds + timing.timeout_seconds + _LATE_SECONDS
        self._late = asyncio.get_running_loop().call_later(seconds, self.abort)
        self._transport.write(request)

    @property
    def is_closing(self) -> bool:
        """Whether it takes no more requests."""
        return self._transport.is_closing()

    def free(self) -> None:
        """Wait for another request, if it is open."""
        if self.is_closing:
            return
        self._late = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self.close)
        self._hops.give_back(self, self._address)

    def close(self) -> None:
        """End it; it is free."""
        self._hops.forget(self, self._address)
        self._transport.close()

    def abort(self) -> None:
        """End it at once: the other pod sees that nobody waits for the answer any more."""
        self._transport.abort()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See `asyncio.Protocol`."""
        self._hops.sessions.port.open -= 1
        self._hops.forget(self, self._address)
        self._parser = None  # type: ignore[assignment]  # breaks a cycle of references
        request = self._end()
        if request is not None:
            request.lost()

    def _rest(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self) -> PassedOn | None:
        self._rest()
        request, self._request = self._request, None
        return request

    # httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `httptools`."""
        if name.lower() == b"content-type":
            self._content_type = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """See `httptools`."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """See `httptools`."""
        status, body = self._parser.get_status_code(), b"".join(self._body)
        self._body = []
        goes_on = self._parser.should_keep_alive()
        request = self._end()
        if goes_on:
            self._parser = httptools.HttpResponseParser(self)
            self.free()
        else:
            self._transport.close()
        if request is not None:
            request.answered(status, self._content_type, body)
