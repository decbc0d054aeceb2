"""Targeted events: each goes to one of many users, through one gateway, as fast as possible.

A burst finds how many events the gateway takes when some always wait. Steady trials at a few lower
rates then find the highest one that the gateway holds without falling behind.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from clarion_bench import clarion
from clarion_bench.contenders import CONTENDERS, Contender
from clarion_bench.laboratory import Laboratory
from clarion_bench.results import Trial
from clarion_bench.trial import Load, run

_SAMPLED = 100
_SHARES = (0.9, 0.8, 0.6, 0.4)


@dataclass(frozen=True)
class TargetedOptions:
    """The options. Without `rates`, shares of the burst's rate are tried, highest first."""

    users: int = 2_000
    rates: Sequence[float] = ()
    seconds: float = 10.0
    warmup_seconds: float = 2.0


def targeted(
    options: TargetedOptions, bench: Laboratory, announce: Callable[[str], None]
) -> Iterator[Trial]:
    """Yield the burst, then each rate; stop at the first rate held, unless rates were given."""
    announce(f"Clarion: a burst of targeted events to {options.users:,} users")
    burst = measure(None, options, bench)
    yield burst
    for rate in options.rates or [share * burst.deliveries_per_second for share in _SHARES]:
        announce(f"Clarion: {rate:,.0f} targeted events/s to {options.users:,} users")
        result = measure(rate, options, bench)
        yield result
        if result.kept_up and not options.rates:
            break


def measure(
    rate: float | None,
    options: TargetedOptions,
    bench: Laboratory,
    gateway: Contender = CONTENDERS["clarion"],
) -> Trial:
    """Run one trial against a gateway of its own."""
    contender = replace(gateway, publisher=lambda url: clarion.to_users(url, options.users))
    load = Load(
        rate,
        sockets=options.users,
        recipients=1,
        sampled=_SAMPLED,
        seconds=options.seconds,
        warmup_seconds=options.warmup_seconds,
    )
    return run(contender, load, bench)
