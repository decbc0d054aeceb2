"""TCP connections to the internal ports of other pods: those that are open, and those that wait.

A link carries one request at a time, and waits for the next one for a while. Relayed WebSockets
have a connection each (`clarion_gateway.transports.socketio.relay`). All of them count among the
pod's TCP connections.

A pod may vanish without a word, together with its node. The kernel asks pods that are silent
whether they are still there, and ends the connection if no answer comes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Final, Protocol, TypeVar, cast

import httptools

from clarion_contract.service.http_port import Port
from clarion_gateway.fleet.pod_addresses import Address
from clarion_gateway.wire.engineio.heartbeat import Timing

_CONNECT_SECONDS: Final = 3.0
# Shorter than the other side keeps a link, so that no request meets one that is being closed.
_IDLE_SECONDS: Final = 30.0
# Links that wait may be so many of the pod's TCP connections: one in so many.
_IDLE_SHARE: Final = 20
# The answer to a poll is this much late before the pod counts as lost.
_LATE_SECONDS: Final = 5.0
# After 15 seconds of silence the kernel asks three times, five seconds apart.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
# A pod that confirms nothing of what was sent is gone; one that only reads no more may be busy.
_UNREAD_SECONDS: Final = 60.0

AnyProtocol = TypeVar("AnyProtocol", bound=asyncio.Protocol)


class Asking(Protocol):
    """A request on a link.

    Attributes:
        hangs: whether the answer waits for something to happen, one heartbeat at the most.
    """

    @property
    def hangs(self) -> bool:
        """See above."""
        ...

    def answered(self, status: int, content_type: str, body: bytes) -> None:
        """The other pod has answered."""
        ...

    def lost(self) -> None:
        """The other pod is gone."""
        ...


class Links:
    """The links of a pod to all others.

    Args:
        port: counts connections, and says how many there may be.
        timing: how long a poll may hang.
    """

    def __init__(self, port: Port, timing: Timing) -> None:
        self.port = port
        self.timing = timing
        self._idle: dict[Address, dict[Link, None]] = {}  # the newest one last
        self._waiting: dict[Link, None] = {}  # all idle ones, the one that waits longest first
        self._opening = 0
        self._is_closed = False

    @property
    def is_full(self) -> bool:
        """Whether the pod has as many TCP connections as it may have."""
        return self.port.open + self._opening >= self.port.max_sockets

    @property
    def waiting(self) -> int:
        """The number of links that are free."""
        return len(self._waiting)

    def idle(self, address: Address) -> Link | None:
        """A link that is open and free; None: there is none."""
        links = self._idle.get(address)
        while links:
            link, _ = links.popitem()
            self._waiting.pop(link, None)
            if not link.is_closing:
                return link
        return None

    def open(self, address: Address) -> Coroutine[None, None, Link | None]:
        """Open a link; None: the pod does not answer."""
        return self.connect(address, lambda: Link(self, address))

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
                transport, protocol = await loop.create_connection(make, *address)
                _notice_loss(transport.get_extra_info("socket"))
        except (OSError, TimeoutError):
            return None
        finally:
            self._opening -= 1
        return protocol

    def give_back(self, link: Link, address: Address) -> None:
        """A link is free again. Beyond a share of the pod's connections, the oldest one ends."""
        self._idle.setdefault(address, {})[link] = None
        self._waiting[link] = None
        if self._is_closed or len(self._waiting) > max(1, self.port.max_sockets // _IDLE_SHARE):
            next(iter(self._waiting)).close()

    def forget(self, link: Link, address: Address) -> None:
        """A link is gone."""
        self._waiting.pop(link, None)
        links = self._idle.get(address, {})
        links.pop(link, None)
        if not links:
            self._idle.pop(address, None)

    def close(self) -> None:
        """Close the links that are free, and each other one when its request is answered."""
        self._is_closed = True
        for link in list(self._waiting):
            link.close()


class Link(asyncio.Protocol):
    """A TCP connection to another pod, with one request at a time."""

    def __init__(self, links: Links, address: Address) -> None:
        self._links = links
        self._address = address
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._request: Asking | None = None
        self._late: asyncio.TimerHandle | None = None
        self._content_type = ""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._links.port.open += 1

    def send(self, request: bytes, asking: Asking) -> None:
        """Send a request."""
        self._rest()
        self._request = asking
        if asking.hangs:
            # Until the next ping at the most. A POST takes as long as handlers are behind, and
            # ends with its session.
            timing = self._links.timing
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
        self._links.give_back(self, self._address)

    def close(self) -> None:
        """End it; it is free."""
        self._rest()
        self._links.forget(self, self._address)
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
        self._links.port.open -= 1
        self._links.forget(self, self._address)
        self._parser = None  # type: ignore[assignment]  # breaks a cycle of references
        request = self._end()
        if request is not None:
            request.lost()

    def _rest(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self) -> Asking | None:
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


def _notice_loss(connection: socket.socket) -> None:
    """Let the kernel end a connection whose other side has vanished."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (*_KEEPALIVE, ("TCP_USER_TIMEOUT", round(_UNREAD_SECONDS * 1_000))):
        if hasattr(socket, name):  # macOS lacks some
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
