"""The server of an internal port, which answers also when no file descriptor is left.

uvloop accepts by itself, and for want of a descriptor it closes the connection without a byte. A
kubelet would then restart a pod that still serves its clients. So this port accepts by itself. It
costs a task for each connection, which the public ports must not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Final

import structlog

from clarion_contract.service import descriptors
from clarion_contract.service.http_port import HttpLimits, Port
from clarion_contract.service.http_protocol import BoundedHttpProtocol, protocol_class
from clarion_contract.service.serving import Server

_AT_ONCE: Final = 64
_PAUSE_SECONDS: Final = 0.1

_log = structlog.get_logger(__name__)


def internal_port(refused: Callable[[str], None]) -> Port:
    """The connections of an internal port."""
    return Port(HttpLimits(), max_sockets=descriptors.INTERNAL, refused=refused, takes_last=True)


def internal_protocol(refused: Callable[[str], None]) -> type[BoundedHttpProtocol]:
    """A `protocol_class` for an internal port, which kubelets and scrapers use."""
    return protocol_class(BoundedHttpProtocol, internal_port(refused))


class InternalServer(Server):
    """The server of an internal port: it answers also when no file descriptor is left."""

    def __init__(
        self,
        app: Any,  # noqa: ANN401 - uvicorn's type
        listener: socket.socket,
        protocol: type[BoundedHttpProtocol],
    ) -> None:
        """Set up.

        Args:
            protocol: of its connections, such as `internal_protocol` makes.
        """
        super().__init__(app, listener, http=protocol, ws="none", proxy_headers=False)
        self._internal = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Accept on the port itself, in place of uvicorn and uvloop."""
        await super().startup(sockets=[])
        acceptor: Any = _Acceptor(self._internal, self._make_protocol)
        self.servers = [acceptor]

    def _make_protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


class _Acceptor:
    """Listens until it is closed; what uvicorn needs of an `asyncio.Server`."""

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Begin to accept.

        Args:
            listener: bound and listening, without blocking.
            protocol: called once per connection.
        """
        self._listener = listener
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._failing = False
        self._resume()

    def close(self) -> None:
        """Accept no more."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()

    async def wait_closed(self) -> None:
        """Return when each connection that was accepted has its protocol."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection = self._next()
            except OSError as error:
                self._pause(error)
                return
            if connection is None:
                return
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _next(self) -> socket.socket | None:
        """The next connection; None: nobody waits."""
        try:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno not in descriptors.NONE_LEFT:
                    raise
                with descriptors.set_aside():
                    connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return None
        self._failing = False
        connection.setblocking(False)
        return connection

    def _pause(self, error: OSError) -> None:
        """The connection waits in the kernel meanwhile, and would wake the loop again at once."""
        if not self._failing:
            self._failing = True
            _log.error("the internal port cannot accept; it tries again", error=str(error))
        self._loop.remove_reader(self._listener)
        self._loop.call_later(_PAUSE_SECONDS, self._resume)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # the client is gone already
            with contextlib.suppress(OSError):
                connection.close()
