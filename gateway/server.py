"""Runs a gateway process: two ports, one event loop, a drain on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Final

import structlog
import uvloop

from contract.serving import PortInUse, Server, bind, stop_signal
from contract.settings import InvalidSettings, load
from contract.telemetry import configure_logging
from gateway.app import running
from gateway.settings import GatewaySettings
from gateway.transports.http import protocol_class

_log = structlog.get_logger(__name__)

_PORT_IN_USE: Final = 1
_BAD_SETTINGS: Final = 2

# A full collection walks every object of every connection, tens of milliseconds at ten thousand.
# Connections are built without cycles, so collecting seldom costs no memory.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


def main() -> int:
    """Run until SIGTERM; the exit code says what went wrong, after one clear line."""
    try:
        settings = load(GatewaySettings)
        configure_logging(
            level=settings.log_level,
            log_format=settings.log_format,
            service="gateway",
            pod=settings.pod,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except InvalidSettings as error:
        for problem in error.problems:
            print(f"gateway: {problem}", file=sys.stderr)
        return _BAD_SETTINGS
    except PortInUse as error:
        print(f"gateway: {error}", file=sys.stderr)
        return _PORT_IN_USE
    return 0


async def serve(settings: GatewaySettings) -> None:
    """Serve both ports until a stop signal, then drain.

    Raises:
        PortInUse: before anything was started.
        InvalidSettings: a setting that only shows to be wrong when it is used.
    """
    stopping = stop_signal()
    public_port = bind(settings.host, settings.port)
    internal_port = bind(settings.internal_host, settings.internal_port)
    async with running(settings) as gateway:
        public = Server(
            gateway.public,
            public_port,
            http=protocol_class(gateway.sessions),
            ws="none",
            proxy_headers=False,
        )
        internal = Server(gateway.internal, internal_port, ws="none", proxy_headers=False)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        async with asyncio.TaskGroup() as group:
            group.create_task(public.run_until_stopped())
            group.create_task(internal.run_until_stopped())
            _log.info(
                "gateway listens",
                port=public_port.getsockname()[1],
                internal_port=internal_port.getsockname()[1],
            )
            await stopping.wait()
            await gateway.drain.run()
            public.stop()
            internal.stop()
