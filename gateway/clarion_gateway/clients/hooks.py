"""Runs the application's functions for clients that connect, and for connections that have ended.

`clarion_gateway.clients.admission` asks before it welcomes a client, and
`clarion_gateway.clients.sessions` tells of each end. If the application has no such functions,
neither costs anything: this module is not asked.

What runs for ended connections waits in one queue, and a limited number of tasks takes it from
there. So a function that hangs costs no memory without bounds: a connection counts against
`GATEWAY_MAX_CONNECTIONS` until its function has ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qsl

import msgspec
import structlog

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.identity.claims import Claims
from clarion_contract.service.supervisor import Spawn
from clarion_gateway.application.context import ConnectContext, DisconnectContext, Host
from clarion_gateway.application.faults import at_the_applications_line
from clarion_gateway.application.hooks import ConnectHook, DisconnectHook
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close, Refused
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.wire.format import by_namespace

_log = structlog.get_logger(__name__)

_TOO_SLOW: Final = close_codes.refused(
    close_codes.UNAVAILABLE.label, "the application did not answer in time, reconnect later"
)
# Of the time for a handshake: the rest is for the bus.
_SHARE_OF_HANDSHAKE: Final = 0.5

_Ended = tuple[Connection, str | None, Close]


class Said(NamedTuple):
    """The words of a client about itself when it connected.

    Attributes:
        query: of its request.
        headers: of its request, names in lower case.
        auth: see `clarion_gateway.clients.opening.Opening`.
    """

    query: str
    headers: Sequence[tuple[str, str]]
    auth: Mapping[str, msgspec.Raw]


class Hooked(Protocol):
    """An owner of functions to run, such as `clarion_gateway.application.handlers.Handlers`."""

    @property
    def namespaces(self) -> Mapping[str, Hooked]:
        """The owners of the functions for other namespaces than the main one, by name."""
        ...

    @property
    def connects(self) -> Sequence[ConnectHook]:
        """The functions that run when a client connects."""
        ...

    @property
    def disconnects(self) -> Sequence[DisconnectHook]:
        """The functions that run when a connection has ended."""
        ...


class ConnectionHooks:
    """The functions of one application, `Handlers.on_connect` and `Handlers.on_disconnect`.

    Attributes:
        running: functions for ended connections that run now.
    """

    def __init__(
        self,
        handlers: Hooked,
        host: Host,
        metrics: Metrics,
        spawn: Spawn,
        settings: GatewaySettings,
    ) -> None:
        self.running = 0
        owners = by_namespace(handlers, handlers.namespaces)
        self._connects = {name: owner.connects for name, owner in owners.items()}
        self._disconnects = {name: owner.disconnects for name, owner in owners.items()}
        every = [hook for hooks in self._connects.values() for hook in hooks]
        self._headers = frozenset[str]().union(*(hook.headers for hook in every))
        self._host = host
        self._metrics = metrics
        self._spawn = spawn
        self._pod = settings.pod
        self._disconnect_seconds = settings.handler_seconds
        self._connect_seconds = min(
            settings.handler_seconds, settings.handshake_seconds * _SHARE_OF_HANDSHAKE
        )
        self._at_once = settings.disconnects_at_once
        # Connections whose functions let them in, by the user then. Empty if nothing runs at their
        # end.
        self._let_in: dict[Connection, str | None] = {}
        # Those that the functions are asked about now; the close of a client that has gone already.
        self._asking: dict[Connection, Close | None] = {}
        self._waiting: deque[_Ended] = deque()

    @property
    def mounted(self) -> bool:
        """Whether the application has any such functions."""
        return any(self._connects.values()) or any(self._disconnects.values())

    @property
    def unfinished(self) -> int:
        """Connections that have ended and whose functions have not."""
        return len(self._waiting) + self.running

    async def connect(
        self,
        connection: Connection,
        user: str | None,
        claims: Claims | None,
        said: Said,
    ) -> None:
        """Ask the application whether it lets a client in.

        Args:
            claims: of the client's token; None without a token.

        Raises:
            Refused: it does not, or it failed.
            BusUnavailable: it published, and Redis does not answer.
        """
        if connection.state is State.CLOSED:  # `ended` was called, and will not be again
            return
        namespace = connection.format.namespace
        self._asking[connection] = None
        try:
            if self._connects[namespace]:
                await self._ask_all(connection, user, claims, said)
        finally:
            gone = self._asking.pop(connection)
        if not self._disconnects[namespace]:
            return
        if gone is None:
            self._let_in[connection] = user
        else:
            self._queue(connection, user, gone)

    def ended(self, connection: Connection, close: Close) -> None:
        """Run the application's functions for a connection that ends; call it once, before the hub
        forgets the connection."""
        if connection in self._asking:
            self._asking[connection] = close
        elif connection in self._let_in:
            user = self._let_in.pop(connection)
            if connection.state is not State.OPENING:
                user = connection.user  # it may have logged in or out since
            self._queue(connection, user, close)

    async def leave(self, connection: Connection) -> None:
        """Run the functions for the end of a connection that goes on under another id."""
        if connection in self._let_in:
            user = self._let_in.pop(connection)
            for hook in self._disconnects[connection.format.namespace]:
                await self._tell(hook, connection, user, close_codes.ABNORMAL)

    async def _ask_all(
        self,
        connection: Connection,
        user: str | None,
        claims: Claims | None,
        said: Said,
    ) -> None:
        payload = {} if claims is None else msgspec.json.decode(claims.payload)
        fields = _fields(said.query)
        auth = {name: msgspec.json.decode(value) for name, value in said.auth.items()}
        seen = {name: value for name, value in reversed(said.headers) if name in self._headers}
        for hook in self._connects[connection.format.namespace]:
            context = ConnectContext(
                connection.id,
                user,
                self._pod,
                self._host,
                hook.scope,
                connection,
                payload,
                auth,
                fields,
                {name: value for name, value in seen.items() if name in hook.headers},
            )
            await self._ask(hook, context)

    async def _ask(self, hook: ConnectHook, context: ConnectContext) -> None:
        try:
            async with asyncio.timeout(self._connect_seconds) as limit:
                await guarded(hook.call(context))
        except Refusal as refusal:
            self._count("connect", "refused")
            raise Refused(close_codes.refused(refusal.code, refusal.message)) from None
        except BusUnavailable:
            self._count("connect", "unavailable")
            raise
        except Exception as error:  # noqa: BLE001 - the edge: the client is told of the bug
            if isinstance(error, TimeoutError) and limit.expired():
                self._count("connect", "timeout")
                _log.error("on_connect took too long", connection=context.connection)
                raise Refused(_TOO_SLOW) from None
            self._count("connect", "internal")
            self._log_failure("on_connect failed", context.connection, error)
            raise Refused(close_codes.INTERNAL_ERROR) from None
        self._count("connect", "done")

    def _queue(self, connection: Connection, user: str | None, close: Close) -> None:
        self._waiting.append((connection, user, close))
        if self.running < self._at_once:
            self.running += 1
            self._spawn("disconnects", self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                connection, user, close = self._waiting.popleft()
                for hook in self._disconnects[connection.format.namespace]:
                    await self._tell(hook, connection, user, close)
        finally:
            self.running -= 1

    async def _tell(
        self, hook: DisconnectHook, connection: Connection, user: str | None, close: Close
    ) -> None:
        context = DisconnectContext(
            connection.id, user, self._pod, self._host, hook.scope, connection,
            close.label, close.code,
        )  # fmt: skip
        outcome = "done"
        try:
            async with asyncio.timeout(self._disconnect_seconds) as limit:
                await guarded(hook.call(context))
        except Exception as error:  # noqa: BLE001 - the next connection's function must run
            if isinstance(error, TimeoutError) and limit.expired():
                outcome = "timeout"
                _log.error("on_disconnect took too long", connection=connection.id)
            else:
                outcome = "internal"
                self._log_failure("on_disconnect failed", connection.id, error)
        self._count("disconnect", outcome)

    def _count(self, hook: str, outcome: str) -> None:
        self._metrics.hooks.labels(hook, outcome).inc()

    def _log_failure(self, event: str, connection: str, error: Exception) -> None:
        _log.error(event, connection=connection, exc_info=at_the_applications_line(error))


async def guarded(call: Awaitable[Any]) -> Any:  # noqa: ANN401 - the application's own
    """Await a function of the application; one that cancels itself has failed.

    Raises:
        RuntimeError: it raised `asyncio.CancelledError` although nobody cancelled it.
    """
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("expected the function not to cancel itself") from None


def _fields(query: str) -> Mapping[str, str]:
    """The first value of each field, without the token: it must not get into logs."""
    fields: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "token":
            fields.setdefault(name, value)
    return fields
