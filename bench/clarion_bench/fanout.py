"""Fan-out: one event to every socket, server after server, on the same sockets and events.

Each measurement starts its server afresh, so that nothing remains from the one before.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from clarion_bench import payload
from clarion_bench.contenders import CONTENDERS, DEFAULT_SERVERS, Contender, started
from clarion_bench.crowd import Crowd
from clarion_bench.laboratory import Laboratory
from clarion_bench.results import Idle, Trial
from clarion_bench.trial import Load, run
from clarion_bench.window import Instruments, between

Announce = Callable[[str], None]

_SAMPLED = 20
_WARM_SOCKETS = 300
_SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class FanoutOptions:
    """The options. The README's figures were made with the defaults."""

    servers: Sequence[str] = DEFAULT_SERVERS
    connections: int = 2_000
    rates: Sequence[float] = (20.0, 200.0)
    seconds: float = 10.0
    warmup_seconds: float = 2.0
    idle: int = 10_000
    burst: bool = True
    event_bytes: int = payload.SIZE_BYTES


def fanout(options: FanoutOptions, bench: Laboratory, announce: Announce) -> Iterator[Idle | Trial]:
    """Run every server through every workload; yield each result at once."""
    contenders = [CONTENDERS[name] for name in options.servers]
    if options.idle:
        for contender in contenders:
            announce(f"{contender.label}: opening {options.idle:,} sockets")
            yield idle(contender, options.idle, bench)
    for rate in options.rates:
        for contender in contenders:
            announce(f"{contender.label}: {rate:g} events/s to {options.connections:,} sockets")
            yield steady(contender, rate, options, bench)
    if options.burst:
        for contender in contenders:
            announce(f"{contender.label}: a burst to {options.connections:,} sockets")
            yield steady(contender, None, options, bench)


def idle(contender: Contender, connections: int, bench: Laboratory) -> Idle:
    """Open sockets as fast as the server takes them, then measure the memory of each."""
    with (
        started(contender, bench) as server,
        contextlib.closing(Crowd(server.port, contender.dialect)) as crowd,
    ):
        queries = contender.queries(connections + _WARM_SOCKETS)
        crowd.open(queries[:_WARM_SOCKETS])
        time.sleep(_SETTLE_SECONDS / 2)
        instruments = Instruments(server.process, bench.broker, crowd)
        memory = server.process.memory_bytes()
        before = instruments.read()
        opened = crowd.open(queries[_WARM_SOCKETS:])
        window = between(before, instruments.read())
        time.sleep(_SETTLE_SECONDS)
        held = server.process.memory_bytes() - memory
        return Idle(
            server=contender.name,
            connections=connections,
            handshakes_per_second=connections / opened.seconds,
            cpu_us_per_handshake=window.busy.server * window.seconds * 1e6 / connections,
            kilobytes_per_connection=held / 1024 / connections,
            busy=window.busy,
        )


def steady(
    contender: Contender, rate: float | None, options: FanoutOptions, bench: Laboratory
) -> Trial:
    """Deliver events at a rate, or in a burst if it is None, and measure a steady window."""
    load = Load(
        rate,
        sockets=options.connections,
        recipients=options.connections,
        sampled=_SAMPLED,
        seconds=options.seconds,
        warmup_seconds=options.warmup_seconds,
        event_bytes=options.event_bytes,
    )
    return run(contender, load, bench)
