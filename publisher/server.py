"""Runs a publisher process: two ports, one event loop, a drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from typing import Final

import structlog
import uvloop

from contract.serving import PortInUse, Server, bind, stop_signal
from contract.settings import InvalidSettings, load
from contract.telemetry import configure_logging
from publisher.app import Drain, response_headers, running
from publisher.protocol import RequestLimits, protocol_class
from publisher.settings import PublisherSettings

_log = structlog.get_logger(__name__)

PORT_IN_USE: Final = 1
BAD_SETTINGS: Final = 2

# A batch makes thousands of objects that all die young, and none of them in cycles. With Python's
# defaults, looking for cycles among them costs a fifth of the batch.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


def main() -> int:
    """Run until SIGTERM; the exit code says what went wrong, after one clear line."""
    try:
        settings = load(PublisherSettings)
        configure_logging(
            level=settings.log_level,
            log_format=settings.log_format,
            service="publisher",
            pod=settings.pod,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except InvalidSettings as error:
        for problem in error.problems:
            print(f"publisher: {problem}", file=sys.stderr)
        return BAD_SETTINGS
    except PortInUse as error:
        print(f"publisher: {error}", file=sys.stderr)
        return PORT_IN_USE
    return 0


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
            http=protocol_class(
                RequestLimits(settings.request_head_max_bytes, settings.request_seconds)
            ),
            ws="none",
            proxy_headers=False,
            headers=response_headers(settings),
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=settings.drain_grace_seconds,
        )
        internal = Server(publisher.internal, internal_port, ws="none", proxy_headers=False)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
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
