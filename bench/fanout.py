"""Fan-out: one event to every socket, server after server, on the same sockets and events.

Each measurement starts its server afresh, so that nothing is left over from the one before.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.broker import Broker, running_broker
from bench.contenders import CONTENDERS, Contender, started
from bench.cores import Cores, raise_file_limit, running_on, split
from bench.crowd import Crowd
from bench.results import Fanout, Idle, percentile
from bench.stream import EventStream
from bench.window import Instruments, Reading, between

Announce = Callable[[str], None]

_SAMPLED = 20
_WARM_SOCKETS = 300
_SETTLE_SECONDS = 2.0
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class FanoutOptions:
    """What to measure; the defaults are what the README's figures are made with."""

    servers: list[str]
    connections: int = 2_000
    rates: list[float] = field(default_factory=lambda: [20.0, 200.0])
    seconds: float = 10.0
    warmup_seconds: float = 2.0
    idle: int = 10_000
    burst: bool = True
    under_way: int = 128


@dataclass(frozen=True)
class Bench:
    """What all measurements of a run share."""

    broker: Broker
    cores: Cores
    directory: Path


@contextlib.contextmanager
def laboratory(directory: Path) -> Iterator[Bench]:
    """Set cores and limits and run a Redis for the length of the block."""
    raise_file_limit()
    cores = split()
    with running_on(cores.client), running_broker(cores.client, directory) as broker:
        yield Bench(broker, cores, directory)


def measure(options: FanoutOptions, bench: Bench, announce: Announce) -> Iterator[Idle | Fanout]:
    """Run every server through every workload, yielding each result as it comes."""
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


def idle(contender: Contender, connections: int, bench: Bench) -> Idle:
    """Open sockets as fast as the server takes them; then see what each costs in memory."""
    with (
        started(contender, bench.broker, bench.cores, bench.directory) as server,
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
            cpu_us_per_handshake=window.server_busy * window.seconds * 1e6 / connections,
            kilobytes_per_connection=held / 1024 / connections,
            server_busy=window.server_busy,
            client_busy=window.client_busy,
        )


def steady(
    contender: Contender, rate: float | None, options: FanoutOptions, bench: Bench
) -> Fanout:
    """Deliver events at a rate, or in a burst where it is None, and measure a steady window."""
    with (
        started(contender, bench.broker, bench.cores, bench.directory) as server,
        contextlib.closing(Crowd(server.port, contender.dialect)) as crowd,
    ):
        crowd.open(contender.queries(options.connections), sampled=_SAMPLED)
        stream = EventStream(server.publisher, crowd, options.connections)
        instruments = Instruments(server.process, bench.broker, crowd)

        def run(seconds: float) -> None:
            if rate is None:
                stream.saturate(options.under_way, seconds)
            else:
                stream.at_rate(rate, seconds)

        run(options.warmup_seconds)
        before = instruments.read()
        run(options.seconds)
        after = instruments.read()
        in_time = stream.settle(_GRACE_SECONDS)
        final = instruments.read()
        return _result(
            contender.name, rate, options.connections, (before, after, final), stream, in_time
        )


def _result(
    server: str,
    rate: float | None,
    connections: int,
    readings: tuple[Reading, Reading, Reading],
    stream: EventStream,
    in_time: bool,
) -> Fanout:
    before, after, final = readings
    window = between(before, after)
    tally = final.tally
    return Fanout(
        server=server,
        connections=connections,
        seconds=window.seconds,
        offered_per_second=rate,
        deliveries_per_second=window.events_per_second,
        cpu_us_per_delivery=window.cpu_us_per_event,
        p50_ms=percentile(window.latencies_ns, 0.50) / 1e6,
        p99_ms=percentile(window.latencies_ns, 0.99) / 1e6,
        frame_bytes=tally.frame_bytes,
        # The sum alone could hide a socket with too few behind one with too many.
        kept_up=in_time and tally.fewest == tally.most == stream.published,
        missing=stream.expected - tally.events,
        misordered=tally.misordered,
        closed=tally.closed,
        server_busy=window.server_busy,
        client_busy=window.client_busy,
    )
