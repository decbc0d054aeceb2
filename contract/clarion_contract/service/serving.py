"""Serving HTTP in both services: bound ports, uvicorn without its signals, a stop signal.

By itself uvicorn ends the process on SIGTERM or when a port is in use. Here the service decides
what to do first and what to print.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

import structlog
import uvicorn
import uvloop

from clarion_contract.service import descriptors
from clarion_contract.service.settings import AnySettings, ContractSettings, InvalidSettings, load
from clarion_contract.service.telemetry import configure_logging
from clarion_contract.service.variables import misspelt

_BACKLOG: Final = 4_096
# Not sent yet, since the client's window is full: as much as the gateway writes at once. Bytes on
# their way do not count, so that a long line is used as well as before.
_NOT_SENT_BYTES: Final = 131_072
_UNREAD_SECONDS: Final = 60.0
_PORT_IN_USE: Final = 1
_BAD_SETTINGS: Final = 2
_GAVE_UP: Final = 3

ANY_ADDRESS: Final = "::"
"""All addresses of the host, of IPv6 and IPv4."""

_ANY_IPV4: Final = "0.0.0.0"  # noqa: S104 - a pod
# The kernel has no IPv6, or it is switched off (net.ipv6.conf.all.disable_ipv6).
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

RESPONSE_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Headers of every response on a public port. Browsers must not store the response, run anything in
it, show it in a frame, pass on its address (which may hold a token), or guess its type."""

# With Python's defaults, the collector looks for cycles a thousand times a second, and a full
# collection walks every object of every connection: tens of milliseconds at ten thousand
# connections. Requests and connections contain no cycles, so rare collections cost no memory.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


_log = structlog.get_logger(__name__)


class PortInUse(Exception):
    """The service cannot listen on a port: it is taken, or the address is not this machine's."""


def bind(host: str, port: int, *, unread_seconds: float = _UNREAD_SECONDS) -> socket.socket:
    """A listening socket; port 0 picks a free one.

    Args:
        host: `ANY_ADDRESS` for all addresses of IPv6 and IPv4, or of IPv4 alone where the host has
            no IPv6.
        unread_seconds: how long a client may read nothing of what was sent, before the kernel ends
            its connection (TCP_USER_TIMEOUT, RFC 5482). While little is sent, nothing else detects
            a client that stopped reading or is gone.

    Raises:
        PortInUse: its one line says which port and why.
    """
    try:
        listener = _bound(host, port)
    except OSError as error:
        shown = f"[{host}]" if ":" in host else host
        raise PortInUse(f"cannot listen on {shown}:{port}: {error.strerror}") from error
    _bound_waiting(listener, unread_seconds)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _bound_waiting(listener: socket.socket, unread_seconds: float) -> None:
    """Bound what the kernel holds for a client that does not read, and for how long.

    Each accepted socket inherits it. Without the bound, the kernel takes 4 MiB for each such client
    (tcp_wmem). They count against a container's limit, and no budget of the process sees them.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        milliseconds = round(unread_seconds * 1_000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux, macOS
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT_BYTES)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.socket(family)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if host == ANY_ADDRESS:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((host, port))
        except OSError:
            listener.close()
            raise
    except OSError as error:
        if host == ANY_ADDRESS and error.errno in _NO_IPV6:
            return _bound(_ANY_IPV4, port)
        raise
    return listener


class GaveUp(Exception):
    """An essential job does not run; the service has drained and ends."""


class Server(uvicorn.Server):
    """uvicorn's server, which only its owner stops."""

    def __init__(self, app: Any, listener: socket.socket, **options: Any) -> None:  # noqa: ANN401
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                backlog=_BACKLOG,
                **options,
            )
        )
        self._listener = listener

    async def run_until_stopped(self) -> None:
        """Serve until `stop`; then finish the current requests and end all connections."""
        await self.serve(sockets=[self._listener])
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        # Connections that still wait for their clients end only now; the loop may be closed next.
        while self.server_state.connections:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Take no more connections, and make `run_until_stopped` return."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the service."""
        yield


def stop_signal() -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets. A second signal ends the process at once."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        stopping.set()
        # As a container's first process, this one has no default handlers to fall back on.
        loop.add_signal_handler(number, os._exit, 128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopping


async def first(*events: asyncio.Event) -> None:
    """Return when one of several events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


Serve = Callable[[AnySettings], Coroutine[Any, Any, None]]


def run(service: str, cls: type[AnySettings], serve: Serve[AnySettings]) -> int:
    """Run a service until its ``serve`` returns.

    Returns:
        The exit code, after one line per problem on standard error: 0, 1 for a port in use, 2 for
        settings that do not allow a start, 3 for a bug after which it could not go on.
    """
    descriptors.raise_limit()
    try:
        settings = load(cls)
        configure_logging(
            level=settings.log_level,
            log_format=settings.log_format,
            service=service,
            pod=settings.pod,
        )
        _warn_of_misspelt(cls)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except InvalidSettings as error:
        for problem in error.problems:
            print(f"{service}: {problem}", file=sys.stderr)
        return _BAD_SETTINGS
    except PortInUse as error:
        print(f"{service}: {error}", file=sys.stderr)
        return _PORT_IN_USE
    except GaveUp as error:
        print(f"{service}: {error}", file=sys.stderr)
        return _GAVE_UP
    return 0


def _warn_of_misspelt(cls: type[ContractSettings]) -> None:
    for each in misspelt(os.environ, [cls]):
        meant = f"; did you mean {each.nearest}?" if each.nearest else ""
        _log.warning(f"{each.name} is no setting and has no effect{meant}")


def settle_memory() -> None:
    """Call once when everything is built: the objects that exist now are never garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
