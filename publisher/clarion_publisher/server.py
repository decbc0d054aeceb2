"""Runs a publisher process: two ports, one event loop, a drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import structlog

from clarion_contract.service.http_bounds import internal_protocol, protocol_class
from clarion_contract.service.serving import Server, bind, run, settle_memory, stop_signal
from clarion_publisher.app import Drain, response_headers, running
from clarion_publisher.protocol import PublisherHttpProtocol
from clarion_publisher.settings import PublisherSettings

_log = structlog.get_logger(__name__)


def main() -> int:
    """Run until SIGTERM; the exit code says what went wrong, after one clear line."""
    return run("publisher", PublisherSettings, serve)


async def serve(settings: PublisherSettings) -> None:
    """Serve both ports until a stop signal, then finish what is under way.

    Raises:
        PortInUse: before anything was started.
        InvalidSettings: a setting that only shows to be wrong when it is used.
    """
    stopping = stop_signal()
    with (
        contextlib.closing(bind(settings.host, settings.port)) as public_port,
        contextlib.closing(bind(settings.internal_host, settings.internal_port)) as internal_port,
    ):
        await serve_on(settings, public_port, internal_port, stopping)


async def serve_on(
    settings: PublisherSettings,
    public_port: socket.socket,
    internal_port: socket.socket,
    stopping: asyncio.Event,
) -> None:
    """Serve on two bound ports until ``stopping`` is set, then finish what is under way."""
    async with running(settings) as publisher:
        public = Server(
            publisher.public,
            public_port,
            http=protocol_class(PublisherHttpProtocol, publisher.port),
            ws="none",
            proxy_headers=False,
            headers=response_headers(settings),
            timeout_graceful_shutdown=settings.drain_grace_seconds,
        )
        internal = Server(
            publisher.internal,
            internal_port,
            http=internal_protocol(publisher.port.refused),
            ws="none",
            proxy_headers=False,
        )
        settle_memory()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(public.run_until_stopped())
            group.create_task(internal.run_until_stopped())
            _log.info(
                "publisher listens",
                port=public_port.getsockname()[1],
                internal_port=internal_port.getsockname()[1],
            )
            await stopping.wait()
            await _announce(publisher.drain, settings.drain_pause_seconds)
            public.stop()
            await serving
            internal.stop()
    _log.info("publisher ended")


async def _announce(drain: Drain, pause_seconds: float) -> None:
    """Fail readiness, and go on serving while endpoints propagate."""
    drain.begun = True
    _log.info("publisher drains", pause_seconds=pause_seconds)
    await asyncio.sleep(pause_seconds)
