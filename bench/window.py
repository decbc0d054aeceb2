"""The window of a measurement: readings at its start and end, and the rates between them."""

import time
from dataclasses import dataclass

import psutil

from bench.broker import Broker
from bench.crowd import Crowd, Tally
from bench.processes import ServerProcess


@dataclass(frozen=True)
class Reading:
    """All counters at one moment."""

    at: float
    server_cpu_seconds: float
    client_cpu_seconds: float
    machine_cpu_seconds: float
    tally: Tally


@dataclass(frozen=True)
class Window:
    """What happened between two readings."""

    seconds: float
    events: int
    cpu_us_per_event: float
    events_per_second: float
    server_busy: float
    client_busy: float
    others_busy: float
    latencies_ns: list[int]


@dataclass(frozen=True)
class Instruments:
    """What is read: the server, and all that shares the client's core."""

    server: ServerProcess
    broker: Broker
    crowd: Crowd

    def read(self) -> Reading:
        """Take a reading; latencies since the last one come with it."""
        # The crowd first: it reads all there is, and nothing is published meanwhile.
        tally = self.crowd.tally()
        server = self.server.cpu_seconds()
        at = time.monotonic()
        client = tally.cpu_seconds + time.process_time() + self.broker.process.cpu_seconds()
        return Reading(at, server, client, machine_cpu_seconds(), tally)


def between(before: Reading, after: Reading) -> Window:
    """Turn two readings into rates."""
    seconds = after.at - before.at
    events = after.tally.events - before.tally.events
    server = after.server_cpu_seconds - before.server_cpu_seconds
    client = after.client_cpu_seconds - before.client_cpu_seconds
    machine = after.machine_cpu_seconds - before.machine_cpu_seconds
    return Window(
        seconds=seconds,
        events=events,
        cpu_us_per_event=server * 1e6 / events if events else 0.0,
        events_per_second=events / seconds,
        server_busy=server / seconds,
        client_busy=client / seconds,
        others_busy=max(0.0, machine - server - client) / seconds,
        latencies_ns=after.tally.latencies_ns,
    )


def machine_cpu_seconds() -> float:
    """CPU time gone on all cores for whatever reason, the hypervisor's share included."""
    times = psutil.cpu_times()
    # Guests' time is part of user time already.
    unspent = (getattr(times, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))
    return float(sum(times) - sum(unspent))
