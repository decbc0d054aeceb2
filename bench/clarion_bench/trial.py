"""One trial: a server, its sockets, a load. Warm up, measure a window, check that all arrived."""

import contextlib
from dataclasses import dataclass

from clarion_bench import payload
from clarion_bench.contenders import Contender, started
from clarion_bench.crowd import Crowd
from clarion_bench.laboratory import Laboratory
from clarion_bench.results import Trial, percentile
from clarion_bench.stream import EventStream
from clarion_bench.window import Instruments, between

# At a rate, all events must have arrived within this time; a slower server has fallen behind.
_GRACE_SECONDS = 2.0
# A burst ends with events still on their way, by design.
_BURST_GRACE_SECONDS = 20.0
# One or two events may be on their way at either edge of a window.
_KEPT_UP_SHARE = 0.98


@dataclass(frozen=True)
class Load:
    """The load of a trial: events at a rate, or a burst if the rate is None.

    `recipients` of the `sockets` get each event, in turn; `sampled` of them are samples.
    """

    events_per_second: float | None
    sockets: int
    recipients: int
    sampled: int
    seconds: float
    warmup_seconds: float
    event_bytes: int = payload.SIZE_BYTES


def run(contender: Contender, load: Load, bench: Laboratory) -> Trial:
    """Carry out a trial on a server of its own."""
    stride = load.sockets // load.recipients
    with (
        started(contender, bench) as server,
        contextlib.closing(Crowd(server.port, contender.dialect, stride=stride)) as crowd,
    ):
        crowd.open(contender.queries(load.sockets), sampled=load.sampled)
        stream = EventStream(server.publisher, crowd, load.recipients, load.event_bytes)
        return _measure(contender, load, stream, Instruments(server.process, bench.broker, crowd))


def _measure(
    contender: Contender, load: Load, stream: EventStream, instruments: Instruments
) -> Trial:
    _offer(load, stream, load.warmup_seconds)
    before = instruments.read()
    _offer(load, stream, load.seconds)
    after = instruments.read()
    stream.settle(_GRACE_SECONDS if load.events_per_second else _BURST_GRACE_SECONDS)
    tally = instruments.read().tally
    window = between(before, after)
    missing = stream.expected - tally.events
    offered = (load.events_per_second or 0.0) * load.recipients
    # The sum alone could hide one socket with too few events behind another with too many.
    uneven = tally.most - tally.fewest > (stream.expected % load.sockets > 0)
    return Trial(
        server=contender.name,
        sockets=load.sockets,
        recipients=load.recipients,
        seconds=window.seconds,
        offered_per_second=load.events_per_second,
        deliveries_per_second=window.events_per_second,
        cpu_us_per_delivery=window.cpu_us_per_event,
        p50_ms=percentile(window.latencies_ns, 0.50) / 1e6,
        p99_ms=percentile(window.latencies_ns, 0.99) / 1e6,
        frame_bytes=tally.frame_bytes,
        complete=missing == 0 and not uneven,
        kept_up=missing == 0 and window.events_per_second >= _KEPT_UP_SHARE * offered,
        missing=missing,
        misordered=tally.misordered,
        closed=tally.closed,
        busy=window.busy,
        event_bytes=load.event_bytes,
    )


def _offer(load: Load, stream: EventStream, seconds: float) -> None:
    if load.events_per_second is None:
        stream.saturate(seconds)
    else:
        stream.at_rate(load.events_per_second, seconds)
