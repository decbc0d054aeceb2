"""Sockets on one gateway: the memory of each while idle, and the CPU of a delivery to each."""

import contextlib
import time

from clarion_bench.contenders import CONTENDERS, started
from clarion_bench.crowd import Crowd
from clarion_bench.growth.costs import Meter
from clarion_bench.growth_points import SocketsPoint
from clarion_bench.laboratory import Laboratory
from clarion_bench.stream import EventStream

# 20,000 sockets at 12 µs each are a quarter of a core for each event a second: no size is busy.
_EVENTS_PER_SECOND = 2.0
_SAMPLED = 20
# Open before memory is read, so that no code is loaded in between.
_WARM_SOCKETS = 300
_SETTLE_SECONDS = 2.0


def sockets(asked: int, held: int, seconds: float, bench: Laboratory) -> SocketsPoint:
    """Measure a gateway of its own.

    Args:
        asked: the size that was asked for.
        held: so many sockets are opened.
        seconds: length of the window with events, and of the one without.
    """
    contender = CONTENDERS["clarion"]
    queries = contender.queries(held)
    warm = min(_WARM_SOCKETS, held // 2)
    with (
        started(contender, bench) as server,
        contextlib.closing(Crowd(server.port, contender.dialect)) as crowd,
    ):
        crowd.open(queries[:warm])
        time.sleep(_SETTLE_SECONDS)
        memory = server.process.memory_bytes()
        crowd.open(queries[warm:], sampled=_SAMPLED)
        time.sleep(_SETTLE_SECONDS)
        memory = server.process.memory_bytes() - memory
        stream = EventStream(server.publisher, crowd, held)
        meter = Meter([server.process], bench.broker, crowd)
        costs = meter.measure(stream, _EVENTS_PER_SECOND, seconds)
    return SocketsPoint(
        asked=asked,
        sockets=held,
        events_per_second=_EVENTS_PER_SECOND,
        deliveries_per_second=costs.deliveries_per_second,
        cpu_us_per_delivery=costs.gateways_us / held,
        idle_cpu_ms_per_second=costs.idle_ms_per_second,
        kilobytes_per_socket=memory / 1024 / (held - warm),
        p99_ms=costs.p99_ms,
        busy=costs.busy,
    )
