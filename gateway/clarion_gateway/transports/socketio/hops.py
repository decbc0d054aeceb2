"""Passes requests on to the pod that has the session, so that no client needs sticky sessions.

A sid names its pod, and is signed (`clarion_gateway.wire.engineio.sids`). The pod's address comes
out of the heartbeats of pods that are alive; nothing of a request leads anywhere else. If the pod
does not answer, the client hears that its session is unknown, and begins another one.

Requests leave on `clarion_gateway.transports.socketio.links`. No request takes a task, but for a
link that must be opened, or a pod that must be looked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Protocol

from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.fleet.pod_addresses import Address, PodAddresses
from clarion_gateway.transports.socketio.exchange import Exchange
from clarion_gateway.transports.socketio.links import Link, Links
from clarion_gateway.wire.engineio import errors
from clarion_gateway.wire.engineio.errors import EngineError
from clarion_gateway.wire.engineio.hop import Hop


class Relayed(Protocol):
    """A client whose WebSocket this pod relays."""

    def close(self) -> None:
        """End both sides, once each has sent what waits."""
        ...


class Hops:
    """The ways of a pod to all others.

    Attributes:
        sessions: the pod's.
        hop: signs requests.
        addresses: of the pods that are alive.
        links: TCP connections to them.
        relayed: the clients whose WebSockets lead to them.
        is_closed: whether nothing is passed on any more: the pod ends.
    """

    def __init__(self, sessions: Sessions, addresses: PodAddresses) -> None:
        self.sessions = sessions
        self.hop = Hop(lambda: sessions.recovery.key)
        self.addresses = addresses
        self.links = Links(sessions.port, sessions.heartbeats.timing)
        self.relayed: dict[Relayed, None] = {}
        self.is_closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """The number of clients that are relayed."""
        return len(self.relayed)

    def mark_elsewhere(self, sid: str) -> str | None:
        """The mark of the other pod that has made a sid; None: no other pod has."""
        mark = self.sessions.sids.mark_of(sid)
        return None if mark == self.sessions.sids.mark else mark

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

    def open_for(self, address: Address, passed_on: PassedOn) -> None:
        """Open a link for a request."""
        self.spawn(self._open(self.links.open(address), passed_on))

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run a coroutine to its end, or to the pod's."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(
        self, connecting: Coroutine[None, None, Link | None], passed_on: PassedOn
    ) -> None:
        link = await connecting
        if link is None:
            passed_on.lost()
        else:
            passed_on.use(link)

    def send_elsewhere(self, count: int) -> None:
        """Close so many of the clients that are relayed: they come back to another pod."""
        for relayed in list(self.relayed)[:count]:
            relayed.close()

    async def aclose(self) -> None:
        """End everything that is under way. Polls are told by the port that they came by."""
        self.is_closed = True
        self.send_elsewhere(len(self))
        self.links.close()
        await asyncio.sleep(0)  # a task that has not begun would leave a coroutine behind
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class PassedOn:
    """A request on its way; its exchange's carrier."""

    __slots__ = ("_body", "_exchange", "_held_bytes", "_hops", "_link", "_mark")

    def __init__(self, hops: Hops, exchange: Exchange, mark: str) -> None:
        self._hops = hops
        self._exchange: Exchange | None = exchange
        self._mark = mark
        self._link: Link | None = None
        self._body = b""
        self._held_bytes = 0

    def begin(self, body: bytes) -> None:
        """The whole request is there."""
        self._body = body
        address = self._hops.addresses.known(self._mark)
        if self._hops.is_closed:
            self._refuse(errors.UNAVAILABLE, "stopped")
        elif address is None:
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
        link = self._hops.links.idle(address)
        if link is not None:
            self.use(link)
        elif self._hops.links.is_full:
            self._refuse(errors.UNAVAILABLE, "full")
        else:
            self._hops.open_for(address, self)

    def use(self, link: Link) -> None:
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

    # Asking

    @property
    def hangs(self) -> bool:
        """See `clarion_gateway.transports.socketio.links.Asking`."""
        return self._exchange is not None and self._exchange.method == "GET"

    def answered(self, status: int, content_type: str, body: bytes) -> None:
        """See `clarion_gateway.transports.socketio.links.Asking`."""
        exchange = self._end()
        if exchange is not None:
            self._hops.count("request", "passed_on")
            exchange.answer(body, status=status, content_type=content_type)

    def lost(self) -> None:
        """See `clarion_gateway.transports.socketio.links.Asking`: the session is gone, too."""
        self._refuse(errors.UNKNOWN_SESSION, "lost")

    # Awaiting

    def grown(self, exchange: Exchange) -> None:
        """See `clarion_gateway.transports.socketio.exchange.Awaiting`."""
        grown_bytes = len(exchange.body) - self._held_bytes
        if self._exchange is None or grown_bytes <= 0:
            return
        if len(exchange.body) > self._hops.sessions.settings.message_max_bytes:
            self._refuse(errors.TOO_LARGE, "refused")
        elif self._hops.sessions.inbound.take(grown_bytes):
            self._held_bytes += grown_bytes
        else:
            self._refuse(errors.UNAVAILABLE, "full")

    def posted(self, exchange: Exchange) -> None:
        """See `clarion_gateway.transports.socketio.exchange.Awaiting`."""
        if self._exchange is not None:
            self.begin(exchange.take_body())

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
