"""Runs a publisher process: two ports, one event loop, a drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Final

import structlog

from clarion_contract.service import descriptors
from clarion_contract.service.help import answer
from clarion_contract.service.internal_server import InternalServer, internal_protocol
from clarion_contract.service.serving import (
    GaveUp,
    bind,
    first,
    run,
    settle_memory,
    stop_signal,
)
from clarion_publisher.app import Drain, running
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.source import Source

_log = structlog.get_logger(__name__)

_ABOUT: Final = (
    "The publisher accepts events over HTTP (/v1/events) and publishes them through Redis to all "
    "gateways. It also tells who is connected, disconnects users and revokes tokens."
)


def main(arguments: Sequence[str] = ()) -> int:
    """Run until SIGTERM. Returns the exit code; a failure also prints one clear line.

    Args:
        arguments: of the command line: ``--help``, or nothing.
    """
    if arguments:
        return answer("publisher", _ABOUT, PublisherSettings, arguments)
    return run("publisher", PublisherSettings, serve)


async def serve(settings: PublisherSettings) -> None:
    """Serve both ports until a stop signal, then finish the current requests.

    Raises:
        PortInUse: raised before anything is started.
        InvalidSettings: a setting turned out to be wrong when it was used.
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
    *,
    sources: Sequence[Source] = (),
) -> None:
    """Serve on two bound ports until ``stopping`` is set, then finish the current requests.

    Args:
        sources: sources of events besides HTTP.
    """
    async with running(settings, public_port, sources=sources) as publisher:
        internal = InternalServer(
            publisher.internal, internal_port, internal_protocol(publisher.port.refused)
        )
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(internal.run_until_stopped())
            try:
                await asyncio.sleep(0)  # lets every task take its first step, so all is built
                settle_memory()
                _log.info(
                    "publisher listens",
                    port=public_port.getsockname()[1],
                    internal_port=internal_port.getsockname()[1],
                    max_sockets=publisher.port.max_sockets,
                    descriptors=descriptors.limit(),
                )
                await first(stopping, publisher.given_up)
                await _announce(publisher.drain, settings.drain_pause_seconds)
                await publisher.stop_sources()
            finally:  # also if a source has failed
                internal.stop()
                await serving
    _log.info("publisher ended")
    if publisher.given_up.is_set():
        raise GaveUp("ends because a job that it needs does not run; see the log")


async def _announce(drain: Drain, pause_seconds: float) -> None:
    """Fail readiness, but go on serving until load balancers have noticed."""
    drain.begun = True
    _log.info("publisher drains", pause_seconds=pause_seconds)
    await asyncio.sleep(pause_seconds)
