"""The results of benchmarks, as plain numbers with units, and the machine they come from.

They are frozen and convert to and from JSON. The tables, the plot and a page of docs show them.
"""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from clarion_bench import payload
from clarion_bench.busy import Busy
from clarion_bench.comparison import Comparison
from clarion_bench.growth_points import Growth
from clarion_bench.topic_figure import TopicFigure

_DISTURBED = 0.15


@dataclass(frozen=True)
class Machine:
    """The machine of a benchmark, and how it ran."""

    time: str
    command: str
    cpu: str
    cores: int
    pinned: bool
    kernel: str
    python: str
    node: str | None
    redis: str
    python_packages: dict[str, str]
    node_packages: dict[str, str]


@dataclass(frozen=True)
class Idle:
    """Opening sockets and then leaving them idle; `busy` is from the time of opening."""

    server: str
    connections: int
    handshakes_per_second: float
    cpu_us_per_handshake: float
    kilobytes_per_connection: float
    busy: Busy


@dataclass(frozen=True)
class Trial:
    """Events into one server for a while, each to `recipients` of its `sockets`, and the result.

    - `offered_per_second` counts events. None means a burst: as many events as the server takes,
      with a bounded number on their way.
    - `deliveries_per_second` and `cpu_us_per_delivery` are those of the window.
    - `complete`: every socket had received all its events when the grace after the last event was
      over.
    - `kept_up`: complete, and the window saw as many deliveries as were offered.
    - `missing` counts the deliveries that had not come by then. If the server fell behind, they are
      late rather than lost.
    - `misordered` counts breaks in sequence on sampled sockets: doubled, lost or out of order.
    - `p50_ms`, `p99_ms`: from publish to receipt, on the sampled sockets.
    - `event_bytes` is the JSON of an event. `frame_bytes` is a frame with it, compressed if so.
    """

    server: str
    sockets: int
    recipients: int
    seconds: float
    offered_per_second: float | None
    deliveries_per_second: float
    cpu_us_per_delivery: float
    p50_ms: float
    p99_ms: float
    frame_bytes: int
    complete: bool
    kept_up: bool
    missing: int
    misordered: int
    closed: int
    busy: Busy
    event_bytes: int = payload.SIZE_BYTES


@dataclass(frozen=True)
class Tail:
    """Single events to all sockets of an idle server.

    - `first_…`, `last_…`: from before publishing until the first socket, or the last one, was read.
    - `reader_ms`: the time that the reader takes from the first socket to the last, if all of them
      have an event. It is a part of the time to the last socket.
    """

    server: str
    sockets: int
    events: int
    first_p50_ms: float
    first_p99_ms: float
    last_p50_ms: float
    last_p99_ms: float
    reader_ms: float
    busy: Busy


@dataclass(frozen=True)
class Publishing:
    """Events accepted over HTTP by one publisher of a server; `batch` events per request."""

    server: str
    batch: int
    concurrency: int
    seconds: float
    requests_per_second: float
    events_per_second: float
    cpu_us_per_event: float
    p50_ms: float
    p99_ms: float
    refusals: int
    busy: Busy


@dataclass(frozen=True)
class Outbox:
    """Rows of a PostgreSQL outbox, published by one publisher.

    - `rows`: published from a backlog, between 95 and 5 percent of it; `busy` is of that time.
    - `p50_ms`, `p99_ms`: from before a commit to a socket, at `commits_per_second`, with NOTIFY.
    """

    rows: int
    rows_per_second: float
    cpu_us_per_row: float
    commits_per_second: float
    p50_ms: float
    p99_ms: float
    busy: Busy


@dataclass(frozen=True)
class Upstream:
    """Messages through one gateway to a local backend, and other clients while it hangs.

    - `messages_per_second`: from `senders` clients with one message under way each; `busy` and
      `p99_ms` are of that time. `refusals` counts messages without a reply among them.
    - `others_p99_ms`, `others_hanging_p99_ms`: from publish to receipt, on sockets that only get
      events, while `waiting` clients send messages that the backend answers, or never answers.
    """

    senders: int
    messages_per_second: float
    cpu_us_per_message: float
    p99_ms: float
    refusals: int
    waiting: int
    others_p99_ms: float
    others_hanging_p99_ms: float
    busy: Busy

    @property
    def ratio(self) -> float:
        """The ratio by which others wait longer for an event while the backend hangs."""
        return self.others_hanging_p99_ms / self.others_p99_ms if self.others_p99_ms else 0.0


@dataclass(frozen=True)
class Avalanche:
    """Every client of one server loses it and returns to another one.

    - Seconds count from SIGTERM. `first_closed_seconds`: until the first connection ended.
      `back_seconds`: until the last client was welcomed again.
    - `highest_per_second`: the most clients that returned within any one second.
    - `away_…`: how long a client was without a connection.
    - `missed`: deliveries of the `events` published meanwhile that clients never got.
    - `told`: clients that were told of a loss.
    """

    server: str
    connections: int
    back_seconds: float
    first_closed_seconds: float
    highest_per_second: float
    highest_in_100_ms: int
    away_p50_seconds: float
    away_p99_seconds: float
    attempts: int
    refused: int
    events: int
    missed: int
    doubled: int
    told: int
    others_busy: float


@dataclass(frozen=True)
class Moment:
    """A gateway and its clients at one moment of a soak.

    - `memory_bytes`: private memory of the process. `resident_bytes`: with shared pages.
    - `tasks`: tasks of its event loop.
    - `lag_seconds`: the loop's own metric.
    - `delivered`: deliveries since the soak began. `due`: deliveries that should have been made by
      then, except those on their way.
    """

    seconds: float
    memory_bytes: int
    resident_bytes: int
    tasks: int
    files: int
    lag_seconds: float
    cpu_share: float
    due: int
    delivered: int


@dataclass(frozen=True)
class Soak:
    """Many sockets and mixed events for a long time, on one gateway.

    - `lost`, `doubled`: deliveries, counted at the very end, after waiting for all of them.
    - `even`: every single socket got exactly its events.
    - `resumed`: connections of clients that came and went.
    - `p50_ms`, `p99_ms`: from publish to receipt on sampled sockets, over the whole time.
    """

    connections: int
    users: int
    seconds: float
    events: int
    due: int
    lost: int
    doubled: int
    even: bool
    closed: int
    resumed: int
    p50_ms: float
    p99_ms: float
    moments: list[Moment]
    others_busy: float


@dataclass(frozen=True)
class Report:
    """Everything from one run of the benchmark."""

    machine: Machine
    idle: list[Idle] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    tails: list[Tail] = field(default_factory=list)
    publishing: list[Publishing] = field(default_factory=list)
    avalanche: list[Avalanche] = field(default_factory=list)
    soak: list[Soak] = field(default_factory=list)
    outbox: list[Outbox] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    upstream: list[Upstream] = field(default_factory=list)
    topics: list[TopicFigure] = field(default_factory=list)
    growth: Growth = field(default_factory=Growth)

    @property
    def fanout(self) -> list[Trial]:
        """Every event to every socket."""
        return [trial for trial in self.trials if trial.recipients == trial.sockets]

    @property
    def targeted(self) -> list[Trial]:
        """Every event to one socket, in turn."""
        return [trial for trial in self.trials if trial.recipients < trial.sockets]

    @property
    def others_busy(self) -> float:
        """The most that other programs used during a measurement, in cores."""
        return max(
            [
                *(result.busy.others for result in self.idle),
                *(result.busy.others for result in self.trials),
                *(result.busy.others for result in self.tails),
                *(result.busy.others for result in self.publishing),
                *(result.busy.others for result in self.outbox),
                *(result.busy.others for result in self.upstream),
                *(result.others_busy for result in self.avalanche),
                *(result.others_busy for result in self.soak),
                *(result.others_busy for result in self.topics),
                self.growth.others_busy,
            ],
            default=0.0,
        )

    @property
    def disturbed(self) -> bool:
        """Whether other programs' work distorts the figures."""
        return self.others_busy > _DISTURBED


def percentile(values: list[int], share: float) -> float:
    """Return the nearest-rank percentile, `share` in 0..1; 0.0 if there are no values."""
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
