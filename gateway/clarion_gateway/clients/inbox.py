"""Leads the messages of clients through the application's handlers.

`clarion_gateway.clients.sessions` puts messages in. Those of one connection are handled in order,
one at a time, by a task that ends when none is left. If a handler raises, hangs or returns
something without a JSON form, the sender of the message gets an error. No other client notices.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

import structlog

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.service.supervisor import Spawn
from clarion_gateway.application.answering import Route, answer
from clarion_gateway.application.context import Context, Reply
from clarion_gateway.application.faults import at_the_applications_line
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.clients.host import GatewayHost
from clarion_gateway.clients.identity_changes import IdentityChanges
from clarion_gateway.clients.memberships import Memberships
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.inbound import Inbound
from clarion_gateway.metrics.registry import MESSAGE_OUTCOMES, Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.wire.format import by_namespace
from clarion_gateway.wire.messages import (
    Answer,
    Authenticate,
    ClientMessage,
    Message,
    Posted,
    Subscribe,
    Unsubscribe,
)
from clarion_gateway.wire.native import BARE

_log = structlog.get_logger(__name__)
_HALF: Final = 2
# A connection's only message does not count if it is this small, as nearly all are: counting would
# cost a twentieth of what such a message costs.
_SMALL_BYTES: Final = 1_024
# Memory of a waiting message beside its bytes: the objects around it, and a task.
_MESSAGE_BYTES: Final = 1_024


class _Inbox:
    """The waiting messages of one connection; exists only while there are any."""

    __slots__ = ("messages", "paused", "started")

    def __init__(self) -> None:
        self.messages: deque[tuple[ClientMessage, int]] = deque()
        self.paused = False
        self.started = False


class Inboxes:
    """Runs the handlers for all connections.

    Attributes:
        running: connections with a message in a handler.
        inbound: the memory of messages that wait for handlers or are in one.
    """

    def __init__(
        self,
        identities: IdentityChanges,
        memberships: Memberships,
        handlers: Handlers,
        host: GatewayHost,
        metrics: Metrics,
        spawn: Spawn,
        settings: GatewaySettings,
        inbound: Inbound,
    ) -> None:
        self._identities = identities
        self._memberships = memberships
        self._handlers = by_namespace(handlers, handlers.namespaces)
        self._host = host
        self._metrics = metrics
        self._spawn = spawn
        self.inbound = inbound
        self._pod = settings.pod
        self._handler_seconds = settings.handler_seconds
        self._backlog = settings.handler_backlog
        self._inboxes: dict[Connection, _Inbox] = {}
        self.running = 0
        host.asks.changed = self._reconsider

    def __contains__(self, connection: Connection) -> bool:
        """Whether messages of the connection wait or are being handled."""
        return connection in self._inboxes

    def put(self, connection: Connection, message: ClientMessage, size_bytes: int = 0) -> None:
        """Queue a message behind those that the connection sent before.

        Reading from the client pauses at `GATEWAY_HANDLER_BACKLOG` messages.

        Args:
            size_bytes: of the message as the client sent it.
        """
        inbox = self._inboxes.get(connection)
        cost_bytes = 0
        if inbox is not None or size_bytes > _SMALL_BYTES:
            cost_bytes = size_bytes + _MESSAGE_BYTES
            self.inbound.hold(connection, cost_bytes)
            if connection.state is State.CLOSED:  # there was no room for it
                self.inbound.release(connection, cost_bytes)
                _drop(message)
                return
        if inbox is None:
            inbox = self._inboxes[connection] = _Inbox()
        inbox.messages.append((message, cost_bytes))
        if connection.state is State.LIVE:
            self.start(connection)
        if len(inbox.messages) >= self._backlog and not inbox.paused:
            self._reconsider(connection)

    def is_full(self, connection: Connection) -> bool:
        """Whether as many messages of the connection wait as may."""
        inbox = self._inboxes.get(connection)
        return inbox is not None and len(inbox.messages) >= self._backlog

    def answered(self, connection: Connection, answer: Answer) -> None:
        """Hand an answer to the handler that waits for it, past the messages before it."""
        self._host.asks.answered(connection, answer)

    def welcomed(self, connection: Connection) -> None:
        """Begin with a connection that is live now: what was for it, and what it has sent."""
        self._host.welcomed(connection)
        self.start(connection)

    def start(self, connection: Connection) -> None:
        """Begin with the messages that a connection sent before it was live; call it then."""
        inbox = self._inboxes.get(connection)
        if inbox is not None and not inbox.started:
            inbox.started = True
            self._spawn("messages", self._work(connection, inbox))

    def ended(self, connection: Connection) -> None:
        """Drop everything of a closed connection that no handler has begun with."""
        self._forget(connection)
        self._host.forget(connection)

    def _reconsider(self, connection: Connection) -> None:
        """Read on from a client, or pause, now that its messages or the questions to it changed.

        While a question waits for the client, its answer may be behind any number of messages. They
        count against the budget of `Inbound`.
        """
        inbox = self._inboxes.get(connection)
        if inbox is None or connection.state is State.CLOSED:
            return
        if inbox.paused and connection in self._host.asks:
            inbox.paused = False
            connection.socket.resume_reading()
        elif not inbox.paused and len(inbox.messages) >= self._backlog:
            inbox.paused = connection not in self._host.asks
            if inbox.paused:
                connection.socket.pause_reading()

    def _forget(self, connection: Connection) -> None:
        inbox = self._inboxes.pop(connection, None)
        if inbox is not None:
            for message, cost_bytes in inbox.messages:
                self.inbound.release(connection, cost_bytes)
                _drop(message)
            inbox.messages.clear()

    async def _work(self, connection: Connection, inbox: _Inbox) -> None:
        self.running += 1
        try:
            while inbox.messages and connection.state is not State.CLOSED:
                message, cost_bytes = inbox.messages.popleft()
                try:
                    await self._handle_safely(connection, message)
                finally:  # it took memory until now, even if the connection is gone
                    if cost_bytes:
                        self.inbound.release(connection, cost_bytes)
                if inbox.paused and len(inbox.messages) <= self._backlog // _HALF:
                    inbox.paused = False
                    connection.socket.resume_reading()
        finally:
            self.running -= 1
            self._forget(connection)

    async def _handle_safely(self, connection: Connection, message: ClientMessage) -> None:
        try:
            await self._handle(connection, message)
        except Exception:  # noqa: BLE001 - the edge: one socket's bug must not end the others
            _log.exception("message failed", connection=connection.id)
            if isinstance(message, Posted):
                message.answer(BARE.error(message.ref, "internal", "the message failed"))
            connection.close(close_codes.INTERNAL_ERROR)

    async def _handle(self, connection: Connection, message: ClientMessage) -> None:
        ref = message.ref
        if isinstance(message, Authenticate):
            await self._identities.authenticate(connection, message.token, ref)
            return
        if isinstance(message, Subscribe):
            await self._memberships.subscribe(connection, message)
            return
        if isinstance(message, Unsubscribe):
            await self._memberships.unsubscribe(connection, message)
            return
        handlers = self._handlers[connection.format.namespace]
        route = handlers.find(message.type)
        if route is None:
            known = ", ".join(sorted(handlers.types)) or "none"
            self._error(connection, message, "unknown_type", f"expected a type out of: {known}")
            return
        context = Context(
            connection.id,
            connection.user,
            self._pod,
            self._host,
            route.scope,
            connection,
            message.type,
        )
        outcome = await self._answer(route, message.data, context)
        if isinstance(outcome, Refusal):
            self._error(connection, message, outcome.code, outcome.message)
            return
        self._metrics.messages.labels("handled").inc()
        if isinstance(message, Posted):
            message.answer(BARE.reply(ref, outcome.data))
        else:
            connection.write(connection.format.reply(ref, outcome.data, outcome.parts))

    async def _answer(self, route: Route, data: bytes, context: Context) -> Reply | Refusal:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._handler_seconds) as deadline:
                return await answer(route, data, context)
        except Refusal as refusal:
            return refusal
        except BusUnavailable:
            return Refusal("unavailable", "the event bus is unavailable, try again")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            _log.exception("handler cancelled itself", type=context.type)
            return Refusal("internal", "the handler failed")
        except Exception as error:  # noqa: BLE001 - the edge: the sender is told of the handler's bug
            if isinstance(error, TimeoutError) and deadline.expired():
                return Refusal("timeout", f"no answer within {self._handler_seconds:g} seconds")
            _log.error(
                "handler failed",
                type=context.type,
                connection=context.connection,
                exc_info=at_the_applications_line(error),
            )
            return Refusal("internal", "the handler failed")
        finally:
            self._metrics.handler_seconds.observe(time.perf_counter() - started)

    def _error(self, connection: Connection, message: Message, code: str, words: str) -> None:
        label = code if code in MESSAGE_OUTCOMES else "refused"
        self._metrics.messages.labels(label).inc()
        if isinstance(message, Posted):
            message.answer(BARE.error(message.ref, code, words))
        else:
            connection.write(connection.format.error(message.ref, code, words))


def _drop(message: ClientMessage) -> None:
    """Tell those that wait for the answer to a message that no handler has begun with it."""
    if isinstance(message, Posted):
        message.answer(None)
