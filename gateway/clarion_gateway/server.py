"""Runs a gateway process: two ports on one event loop, and a drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Final

import structlog

from clarion_contract.service import descriptors
from clarion_contract.service.help import answer
from clarion_contract.service.internal_server import InternalServer
from clarion_contract.service.serving import (
    GaveUp,
    Server,
    bind,
    first,
    run,
    settle_memory,
    stop_signal,
)
from clarion_gateway.app import running
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.transports.http import gateway_protocol
from clarion_gateway.transports.socketio.internal import internal_protocol

_log = structlog.get_logger(__name__)

_ABOUT: Final = (
    "The gateway holds the WebSocket (/ws), SSE (/sse) and Socket.IO (/socket.io/) connections of "
    "clients and delivers events to them from Redis. It runs your application's handlers for "
    "messages from clients."
)


def main(arguments: Sequence[str] = ()) -> int:
    """Run until SIGTERM.

    Args:
        arguments: of the command line: ``--help``, or nothing.

    Returns:
        The exit code. It names the kind of failure; one line on stderr explains it.
    """
    if arguments:
        return answer("gateway", _ABOUT, GatewaySettings, arguments)
    return run("gateway", GatewaySettings, serve)


async def serve(settings: GatewaySettings) -> None:
    """Serve both ports until a stop signal, then drain.

    Raises:
        PortInUse: a port is taken; nothing was started.
        InvalidSettings: a setting turned out to be wrong when it was used.
        GaveUp: a job that the gateway needs failed for good; the gateway has drained.
    """
    stopping = stop_signal()
    with (
        contextlib.closing(
            bind(settings.host, settings.port, unread_seconds=settings.unread_seconds)
        ) as public_port,
        contextlib.closing(bind(settings.internal_host, settings.internal_port)) as internal_port,
    ):
        await serve_on(settings, public_port, internal_port, stopping)


async def serve_on(
    settings: GatewaySettings,
    public_port: socket.socket,
    internal_port: socket.socket,
    stopping: asyncio.Event,
) -> None:
    """Serve on two bound ports until ``stopping`` is set, then drain."""
    async with running(settings) as gateway:
        public = Server(
            gateway.public,
            public_port,
            http=gateway_protocol(gateway.sessions, hops=gateway.hops),
            ws="none",
            proxy_headers=False,
        )
        internal = InternalServer(
            gateway.internal,
            internal_port,
            internal_protocol(gateway.sessions, gateway.sessions.port.refused),
        )
        settle_memory()
        async with asyncio.TaskGroup() as group:
            group.create_task(public.run_until_stopped())
            group.create_task(internal.run_until_stopped())
            _log.info(
                "gateway listens",
                port=public_port.getsockname()[1],
                internal_port=internal_port.getsockname()[1],
                max_connections=gateway.sessions.settings.max_connections,
                descriptors=descriptors.limit(),
            )
            await first(stopping, gateway.given_up)
            await gateway.drain.run()
            public.stop()
            internal.stop()
            await gateway.hops.aclose()
    if gateway.given_up.is_set():
        raise GaveUp("ends because a job that it needs does not run; see the log")
