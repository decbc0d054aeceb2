"""What a benchmark found, as plain numbers with their units, and the machine it found them on.

Frozen, JSON both ways. Everything that shows results (table, plot, a page of docs) reads these.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec


@dataclass(frozen=True)
class Machine:
    """Where and how a benchmark ran."""

    time: str
    command: str
    cpu: str
    cores: int
    pinned: bool
    kernel: str
    python: str
    node: str | None
    redis: str
    packages: dict[str, str]


@dataclass(frozen=True)
class Idle:
    """Opening sockets and then leaving them alone.

    `server_busy` and `client_busy` are shares of one core while the sockets were opened. Where the
    server's is well below 1, the load client was the limit, and only the CPU figure counts.
    """

    server: str
    connections: int
    handshakes_per_second: float
    cpu_us_per_handshake: float
    kilobytes_per_connection: float
    server_busy: float
    client_busy: float


@dataclass(frozen=True)
class Fanout:
    """Events delivered to every socket.

    `offered_per_second` is None for a burst: as many events as the server takes, with a bounded
    number under way. `kept_up`: every socket had every event within the grace after the last one.
    `missing` counts deliveries that had not come by then; where the server fell behind they are
    late rather than lost. `misordered` counts breaks in sequence on sampled sockets: doubled,
    lost or out of order. `p50_ms`, `p99_ms`: from publish to receipt, on the sampled sockets.
    """

    server: str
    connections: int
    seconds: float
    offered_per_second: float | None
    deliveries_per_second: float
    cpu_us_per_delivery: float
    p50_ms: float
    p99_ms: float
    frame_bytes: int
    kept_up: bool
    missing: int
    misordered: int
    closed: int
    server_busy: float
    client_busy: float


@dataclass(frozen=True)
class Targeted:
    """Events to single users, spread evenly over all of them, through one gateway."""

    server: str
    users: int
    seconds: float
    offered_per_second: float | None
    events_per_second: float
    cpu_us_per_event: float
    p50_ms: float
    p99_ms: float
    kept_up: bool
    missing: int
    server_busy: float
    client_busy: float


@dataclass(frozen=True)
class Publishing:
    """Events accepted over HTTP by one publisher; `batch` events per request."""

    batch: int
    concurrency: int
    seconds: float
    requests_per_second: float
    events_per_second: float
    cpu_us_per_event: float
    p50_ms: float
    p99_ms: float
    errors: int
    server_busy: float
    client_busy: float


@dataclass(frozen=True)
class Report:
    """Everything from one run of the benchmark."""

    machine: Machine
    idle: list[Idle]
    fanout: list[Fanout]
    targeted: list[Targeted]
    publishing: list[Publishing]


def percentile(values: list[int], share: float) -> float:
    """Return the nearest-rank percentile, `share` in 0..1; 0.0 where there are no values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


def write(report: Report, path: Path) -> None:
    """Write a report as indented JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def read(path: Path) -> Report:
    """Read a report; a file of another shape is an error (msgspec.ValidationError)."""
    return msgspec.json.decode(path.read_bytes(), type=Report)
