"""Loads that take turns on the same gateway and sockets, so that their ratio is of one run."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from clarion_bench import clarion
from clarion_bench.crowd import Crowd, LoadError
from clarion_bench.dialects import CLARION
from clarion_bench.laboratory import Laboratory
from clarion_bench.processes import ServerProcess, free_port
from clarion_bench.publishers import Publisher
from clarion_bench.stream import EventStream
from clarion_bench.window import Instruments, Window, between

_WARM_UP_SECONDS = 1.0
# A window begins and ends with few events on their way, and the next one must not get them.
_GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Side:
    """One of the loads.

    Attributes:
        recipients: so many sockets get each event.
        rate: events a second; None: as many as the gateway takes.
    """

    publisher: Publisher
    recipients: int
    rate: float | None


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    process: ServerProcess
    port: int


@contextlib.contextmanager
def gateway(bench: Laboratory, env: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    """Run a gateway on its core during the block.

    Args:
        env: settings that differ from those of `clarion.gateway`.
    """
    port = free_port()
    launch = clarion.gateway(port, bench.broker.url)
    launch = replace(launch, env={**launch.env, **(env or {})})
    with bench.serving("gateway", launch) as process:
        yield Gateway(process, port)


@contextlib.contextmanager
def crowd(server: Gateway, queries: Sequence[str]) -> Iterator[Crowd]:
    """Sockets that only count what they receive, during the block."""
    with contextlib.closing(Crowd(server.port, CLARION)) as sockets:
        sockets.open(queries)
        yield sockets


def alternate(
    sides: Sequence[Side],
    turns: int,
    seconds: float,
    instruments: Instruments,
) -> list[list[Window]]:
    """Measure one window of each side per turn; return them by side.

    Raises:
        LoadError: a delivery is missing.
    """
    windows: list[list[Window]] = [[] for _ in sides]
    for turn in range(turns):
        order = range(len(sides)) if turn % 2 == 0 else reversed(range(len(sides)))
        for index in order:
            windows[index].append(_window(sides[index], seconds, instruments))
    return windows


def _window(side: Side, seconds: float, instruments: Instruments) -> Window:
    stream = EventStream(side.publisher, instruments.crowd, side.recipients)
    _offer(stream, side.rate, _WARM_UP_SECONDS)
    before = instruments.read()
    _offer(stream, side.rate, seconds)
    after = instruments.read()
    if not stream.settle(_GRACE_SECONDS):
        raise LoadError(
            f"not all of {stream.expected:,} deliveries came in {_GRACE_SECONDS:g} s. "
            "A gateway that got no CPU for seconds has connected to Redis anew; "
            "events that went to channels directly are in no log"
        )
    return between(before, after)


def _offer(stream: EventStream, rate: float | None, seconds: float) -> None:
    if rate is None:
        stream.saturate(seconds)
    else:
        stream.at_rate(rate, seconds)
