"""Two checkouts in turns: what got slower beyond the noise.

The sides take turns, and the first one of a turn changes, so that a machine that warms up or gets
busy favours neither. Every measurement starts its server again.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from clarion_bench import clarion
from clarion_bench.checkout import Checkout
from clarion_bench.comparison import Comparison
from clarion_bench.contenders import CONTENDERS, Contender
from clarion_bench.fanout import FanoutOptions, idle, steady
from clarion_bench.laboratory import Laboratory
from clarion_bench.publishing import PublishingOptions, publishing
from clarion_bench.resumes import resumes
from clarion_bench.targeted import TargetedOptions, measure

Announce = Callable[[str], None]
Figures = Mapping[str, float]


@dataclass(frozen=True)
class CompareOptions:
    """The options. The defaults take about ten minutes."""

    old: Checkout
    new: Checkout
    measurements: Sequence[str] = ("publish", "handshake", "fanout", "targeted", "resume")
    turns: int = 5
    connections: int = 1_000
    seconds: float = 4.0
    warmup_seconds: float = 1.0


def compare(options: CompareOptions, bench: Laboratory, announce: Announce) -> Iterator[Comparison]:
    """Run both checkouts through every measurement; yield each figure's comparison."""
    for name in options.measurements:
        sides: dict[str, list[Figures]] = {"old": [], "new": []}
        for turn in range(options.turns):
            for side in ("old", "new") if turn % 2 == 0 else ("new", "old"):
                announce(f"{name}: turn {turn + 1} of {options.turns}, {side}")
                code = options.old if side == "old" else options.new
                sides[side].append(MEASUREMENTS[name](code, options, bench))
        for figure in sides["old"][0]:
            old, new = ([each[figure] for each in sides[side]] for side in ("old", "new"))
            yield Comparison(figure, old, new)


def _publish(code: Checkout, options: CompareOptions, bench: Laboratory) -> Figures:
    wanted = PublishingOptions(
        batches=(1, 100), seconds=options.seconds, warmup_seconds=options.warmup_seconds
    )
    results = publishing(wanted, bench, lambda _: None, code)
    return {f"publish, {each.batch} a request: CPU µs": each.cpu_us_per_event for each in results}


def _handshake(code: Checkout, options: CompareOptions, bench: Laboratory) -> Figures:
    result = idle(_gateway(code), options.connections, bench)
    return {
        "handshake: CPU µs": result.cpu_us_per_handshake,
        "idle socket: KB": result.kilobytes_per_connection,
    }


def _fanout(code: Checkout, options: CompareOptions, bench: Laboratory) -> Figures:
    wanted = FanoutOptions(
        connections=options.connections,
        seconds=options.seconds,
        warmup_seconds=options.warmup_seconds,
    )
    figures = {}
    for rate in wanted.rates:
        result = steady(_gateway(code), rate, wanted, bench)
        figures[f"delivery, {rate:g} events/s: CPU µs"] = result.cpu_us_per_delivery
        figures[f"delivery, {rate:g} events/s: p99 ms"] = result.p99_ms
    return figures


def _targeted(code: Checkout, options: CompareOptions, bench: Laboratory) -> Figures:
    wanted = TargetedOptions(
        users=options.connections, seconds=options.seconds, warmup_seconds=options.warmup_seconds
    )
    result = measure(None, wanted, bench, _gateway(code))
    return {
        "targeted, a burst: CPU µs": result.cpu_us_per_delivery,
        "targeted, a burst: µs between events": 1e6 / result.deliveries_per_second,
    }


def _resume(code: Checkout, options: CompareOptions, bench: Laboratory) -> Figures:
    return resumes(_gateway(code), options.connections, bench)


def _gateway(code: Checkout) -> Contender:
    launch = functools.partial(clarion.gateway, code=code)
    return replace(CONTENDERS["clarion"], launch=launch)


MEASUREMENTS: Mapping[str, Callable[[Checkout, CompareOptions, Laboratory], Figures]] = {
    "publish": _publish,
    "handshake": _handshake,
    "fanout": _fanout,
    "targeted": _targeted,
    "resume": _resume,
}
