"""The window of a measurement: readings at its start and end, and the rates between them."""

import time
from dataclasses import dataclass

import psutil

from clarion_bench.broker import Broker
from clarion_bench.busy import Busy
from clarion_bench.crowd import Crowd, Tally
from clarion_bench.processes import ServerProcess


@dataclass(frozen=True)
class Clock:
    """CPU seconds used so far: by the server, by all that shares the client's core, and by all."""

    at: float
    server: float
    client: float
    machine: float

    def busy_since(self, before: "Clock") -> Busy:
        """CPU use since an earlier moment."""
        seconds = self.at - before.at
        server, client = self.server - before.server, self.client - before.client
        others = max(0.0, self.machine - before.machine - server - client)
        return Busy(server / seconds, client / seconds, others / seconds)


def clock(server: ServerProcess, broker: Broker, load_cpu_seconds: float) -> Clock:
    """Read the clocks. The caller passes the CPU time of the load processes."""
    server_seconds = server.cpu_seconds()
    at = time.monotonic()
    client = load_cpu_seconds + time.process_time() + broker.process.cpu_seconds()
    return Clock(at, server_seconds, client, machine_cpu_seconds())


@dataclass(frozen=True)
class Reading:
    """All counters at one moment."""

    clock: Clock
    tally: Tally


@dataclass(frozen=True)
class Window:
    """The figures between two readings. An event counts once for each socket that got it."""

    seconds: float
    events: int
    cpu_us_per_event: float
    events_per_second: float
    busy: Busy
    latencies_ns: list[int]


@dataclass(frozen=True)
class Instruments:
    """The sources of readings: the server, and all that shares the client's core."""

    server: ServerProcess
    broker: Broker
    crowd: Crowd

    def read(self) -> Reading:
        """Take a reading, with the latencies since the last one."""
        # Read the crowd first: it reads all pending events, and nothing is published meanwhile.
        tally = self.crowd.tally()
        return Reading(clock(self.server, self.broker, tally.cpu_seconds), tally)


def between(before: Reading, after: Reading) -> Window:
    """Compute rates from two readings."""
    seconds = after.clock.at - before.clock.at
    events = after.tally.events - before.tally.events
    server = after.clock.server - before.clock.server
    return Window(
        seconds=seconds,
        events=events,
        cpu_us_per_event=server * 1e6 / events if events else 0.0,
        events_per_second=events / seconds,
        busy=after.clock.busy_since(before.clock),
        latencies_ns=after.tally.latencies_ns,
    )


def machine_cpu_seconds() -> float:
    """CPU time used on all cores for any reason, including the hypervisor's share."""
    times = psutil.cpu_times()
    # User time already includes guests' time.
    unspent = (getattr(times, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))
    return float(sum(times) - sum(unspent))
