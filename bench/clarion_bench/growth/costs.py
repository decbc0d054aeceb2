"""The CPU time of events, process by process, above that of as long a time without events.

A gateway also pings its sockets and renews its presence, and Redis has its own clock. At a few
events a second this would weigh as much as the events, so a quiet window is measured before.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clarion_bench.broker import Broker
from clarion_bench.busy import Busy
from clarion_bench.crowd import LoadError
from clarion_bench.processes import ServerProcess
from clarion_bench.results import percentile
from clarion_bench.stream import EventStream, Receivers
from clarion_bench.window import machine_cpu_seconds

_WARM_UP_SECONDS = 1.0
_GRACE_SECONDS = 60.0
# Batches are a fraction of a second, in which little else happens.
_QUIET_SECONDS = 1.0


@dataclass(frozen=True)
class Spent:
    """CPU seconds used so far, and what the receivers have counted."""

    at: float
    gateways: float
    redis: float
    publishing: float
    load: float
    machine: float
    deliveries: int
    latencies_ns: list[int]

    def busy_since(self, before: "Spent") -> Busy:
        """CPU use since an earlier moment."""
        seconds = self.at - before.at
        server = self.gateways - before.gateways
        client = (
            (self.redis - before.redis)
            + (self.publishing - before.publishing)
            + (self.load - before.load)
        )
        others = max(0.0, self.machine - before.machine - server - client)
        return Busy(server / seconds, client / seconds, others / seconds)


@dataclass(frozen=True)
class Costs:
    """The costs of the events of a window.

    - `gateways_us`, `redis_us`, `publishing_us`: CPU per event, above the quiet window; that of
      all gateways together.
    - `idle_ms_per_second`: CPU of all gateways in the quiet window.
    """

    deliveries_per_second: float
    gateways_us: float
    redis_us: float
    publishing_us: float
    idle_ms_per_second: float
    p99_ms: float
    busy: Busy


@dataclass(frozen=True)
class Meter:
    """The processes whose CPU is read, and the sockets that receive."""

    gateways: Sequence[ServerProcess]
    broker: Broker
    receivers: Receivers

    def read(self) -> Spent:
        """Take a reading, with the latencies since the last one."""
        tally = self.receivers.tally()
        return Spent(
            at=time.monotonic(),
            gateways=sum(gateway.cpu_seconds() for gateway in self.gateways),
            redis=self.broker.process.cpu_seconds(),
            publishing=time.process_time(),
            load=tally.cpu_seconds,
            machine=machine_cpu_seconds(),
            deliveries=tally.events,
            latencies_ns=tally.latencies_ns,
        )

    def measure(self, stream: EventStream, rate: float, seconds: float) -> Costs:
        """Measure a quiet window, then one with events at a rate, with all their deliveries.

        Raises:
            LoadError: a delivery is missing.
        """
        stream.at_rate(rate, _WARM_UP_SECONDS)
        return self._above_quiet(stream, seconds, lambda: stream.at_rate(rate, seconds))

    def measure_batches(self, stream: EventStream, batches: int, events: int) -> Costs:
        """Measure a quiet window, then batches of so many events, one after the other.

        Raises:
            LoadError: a delivery is missing.
        """
        return self._above_quiet(stream, _QUIET_SECONDS, lambda: stream.in_batches(batches, events))

    def _above_quiet(
        self, stream: EventStream, seconds: float, publish: Callable[[], None]
    ) -> Costs:
        _settle(stream)
        start = self.read()
        time.sleep(seconds)
        quiet = self.read()
        published = stream.published
        publish()
        _settle(stream)
        return between(start, quiet, self.read(), stream.published - published)


def _settle(stream: EventStream) -> None:
    if not stream.settle(_GRACE_SECONDS):
        raise LoadError(
            f"not all of {stream.expected:,} deliveries came in {_GRACE_SECONDS:g} s: "
            "the gateway does not keep up, or has connected to Redis anew"
        )


def between(start: Spent, quiet: Spent, end: Spent, events: int) -> Costs:
    """The costs of the events between `quiet` and `end`, above those from `start` to `quiet`."""
    seconds = end.at - quiet.at
    # The end waits for the last deliveries, so the windows differ in length.
    longer = seconds / (quiet.at - start.at)

    def each_us(before: float, between: float, after: float) -> float:
        return ((after - between) - (between - before) * longer) * 1e6 / events

    return Costs(
        deliveries_per_second=(end.deliveries - quiet.deliveries) / seconds,
        gateways_us=each_us(start.gateways, quiet.gateways, end.gateways),
        redis_us=each_us(start.redis, quiet.redis, end.redis),
        publishing_us=each_us(start.publishing, quiet.publishing, end.publishing),
        idle_ms_per_second=(quiet.gateways - start.gateways) * 1e3 / (quiet.at - start.at),
        p99_ms=percentile(end.latencies_ns, 0.99) / 1e6,
        busy=end.busy_since(quiet),
    )
