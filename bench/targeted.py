"""Targeted events: each to one of many users, through one gateway, as fast as it holds.

A burst finds how many the gateway takes when always some wait. Steady trials below that then find
the highest rate, of a few, that it holds without falling behind.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench import clarion
from bench.contenders import CONTENDERS, started
from bench.crowd import Crowd
from bench.laboratory import Laboratory
from bench.results import Targeted, percentile
from bench.stream import EventStream
from bench.trial import Load, run
from bench.window import Instruments

_SAMPLED = 100
_SHARES = (0.9, 0.8, 0.6, 0.4)


@dataclass(frozen=True)
class TargetedOptions:
    """What to measure. Without `rates`, shares of what a burst reaches are tried, highest first."""

    users: int = 2_000
    rates: Sequence[float] = ()
    seconds: float = 10.0
    warmup_seconds: float = 2.0


def targeted(
    options: TargetedOptions, bench: Laboratory, announce: Callable[[str], None]
) -> Iterator[Targeted]:
    """Yield the burst, then each rate; stop at the first rate held unless rates were given."""
    announce(f"Clarion: a burst of targeted events to {options.users:,} users")
    burst = measure(None, options, bench)
    yield burst
    for rate in options.rates or [share * burst.events_per_second for share in _SHARES]:
        announce(f"Clarion: {rate:,.0f} targeted events/s to {options.users:,} users")
        result = measure(rate, options, bench)
        yield result
        if result.kept_up and not options.rates:
            break


def measure(rate: float | None, options: TargetedOptions, bench: Laboratory) -> Targeted:
    """Run one trial against a gateway of its own."""
    contender = replace(
        CONTENDERS["clarion"], publisher=lambda url: clarion.to_users(url, options.users)
    )
    load = Load(rate, options.warmup_seconds, options.seconds)
    with (
        started(contender, bench.broker, bench.cores, bench.directory) as server,
        contextlib.closing(Crowd(server.port, contender.dialect, stride=options.users)) as crowd,
    ):
        crowd.open(contender.queries(options.users), sampled=_SAMPLED)
        stream = EventStream(server.publisher, crowd, recipients=1)
        trial = run(load, stream, Instruments(server.process, bench.broker, crowd))
        window, tally = trial.window, trial.tally
        return Targeted(
            server=contender.name,
            users=options.users,
            seconds=window.seconds,
            offered_per_second=rate,
            events_per_second=window.events_per_second,
            cpu_us_per_event=window.cpu_us_per_event,
            p50_ms=percentile(window.latencies_ns, 0.50) / 1e6,
            p99_ms=percentile(window.latencies_ns, 0.99) / 1e6,
            # In turn: nobody may have more than one event more than another.
            complete=trial.missing == 0 and tally.most - tally.fewest <= 1,
            kept_up=trial.kept_up,
            missing=trial.missing,
            misordered=tally.misordered,
            closed=tally.closed,
            server_busy=window.server_busy,
            client_busy=window.client_busy,
            others_busy=window.others_busy,
        )
