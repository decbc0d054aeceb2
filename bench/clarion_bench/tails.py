"""Single events to an idle server: the time until the first socket has one, and until the last.

The next event leaves when nothing is under way any more. Part of the time to the last socket is
the reader's. To show how much, the reader is stopped while some events arrive, and then reads them
from all sockets.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from clarion_bench import payload
from clarion_bench.contenders import CONTENDERS, DEFAULT_SERVERS, Contender, Started, started
from clarion_bench.crowd import CONCURRENCY, Loader, LoadError, check_compressed
from clarion_bench.laboratory import Laboratory
from clarion_bench.load import Orders
from clarion_bench.results import Tail, percentile
from clarion_bench.watch import WatchSnapshot
from clarion_bench.window import clock

SERVERS = tuple(name for name, contender in CONTENDERS.items() if not contender.dialect.polls)
_WARMUP_EVENTS = 5
_READER_EVENTS = 7
# Long enough for every server to write one event to all sockets on a quiet machine.
_STOPPED_SECONDS = 0.5
_GRACE_SECONDS = 20.0
# Uneven pauses, so that events do not always meet a timer of a server at the same place.
_SHORTEST, _LONGEST = 0.8, 1.2


@dataclass(frozen=True)
class TailsOptions:
    """The options: `events` for each server, at `rate` events/s."""

    servers: Sequence[str] = DEFAULT_SERVERS
    connections: int = 2_000
    events: int = 200
    rate: float = 2.5


def tails(
    options: TailsOptions, bench: Laboratory, announce: Callable[[str], None]
) -> Iterator[Tail]:
    """Measure every server; yield each result at once."""
    for name in options.servers:
        contender = CONTENDERS[name]
        announce(f"{contender.label}: {options.events} events to {options.connections:,} sockets")
        yield tail(contender, options, bench)


def tail(contender: Contender, options: TailsOptions, bench: Laboratory) -> Tail:
    """Measure one server.

    Raises:
        LoadError: a socket did not get an event, or got one twice.
    """
    with (
        started(contender, bench) as server,
        contextlib.closing(_Watch(server, options)) as watch,
    ):
        watch.publish(_WARMUP_EVENTS)
        before = clock(server.process, bench.broker, watch.take().cpu_seconds)
        watch.publish(options.events)
        seen = watch.take()
        busy = clock(server.process, bench.broker, seen.cpu_seconds).busy_since(before)
        with watch.stopped_reader():
            watch.publish(_READER_EVENTS)
        held = watch.take()
    firsts = [arrival.first_ns for arrival in seen.arrivals]
    lasts = [arrival.last_ns for arrival in seen.arrivals]
    return Tail(
        server=contender.name,
        sockets=options.connections,
        events=len(seen.arrivals),
        first_p50_ms=percentile(firsts, 0.50) / 1e6,
        first_p99_ms=percentile(firsts, 0.99) / 1e6,
        last_p50_ms=percentile(lasts, 0.50) / 1e6,
        last_p99_ms=percentile(lasts, 0.99) / 1e6,
        reader_ms=median(arrival.last_ns - arrival.first_ns for arrival in held.arrivals) / 1e6,
        busy=busy,
    )


class _Watch:
    """The reader, with all its sockets, and the events that it gets."""

    def __init__(self, server: Started, options: TailsOptions) -> None:
        self._publisher = server.publisher
        self._sockets = options.connections
        self._pause = 1 / options.rate
        self._chance = random.Random(0)  # noqa: S311 - pauses, not a secret
        self._published = 0
        self._taken = 0
        self._stops_reader = False
        contender = server.contender
        self._loader = Loader(
            Orders(server.port, contender.dialect, sampling=False, pause_seconds=0.0, watching=True)
        )
        try:
            opened = self._loader.open(contender.queries(self._sockets), CONCURRENCY)
            if opened.failures:
                raise LoadError(
                    f"{opened.failures} of {self._sockets} sockets could not be opened: "
                    f"{opened.reason}"
                )
        except LoadError:
            self.close()
            raise

    def publish(self, events: int) -> None:
        """Publish events, each when every socket has had the last one for a while."""
        for _ in range(events):
            time.sleep(self._pause * self._chance.uniform(_SHORTEST, _LONGEST))
            event = payload.encode(self._published)
            self._published += 1
            if self._stops_reader:
                with self._loader.stopped():
                    self._publisher.publish([event])
                    time.sleep(_STOPPED_SECONDS)
            else:
                self._publisher.publish([event])
            self._settle()

    @contextlib.contextmanager
    def stopped_reader(self) -> Iterator[None]:
        """Stop the reader during the block while an event arrives at the sockets."""
        self._stops_reader = True
        yield
        self._stops_reader = False

    def take(self) -> WatchSnapshot:
        """Return the arrivals since the last call.

        Raises:
            LoadError: a socket did not get exactly the events, or got them uncompressed.
        """
        snapshot = self._loader.snapshot()
        if not isinstance(snapshot, WatchSnapshot):
            raise TypeError(f"expected the snapshot of a reader, got {type(snapshot).__name__}")
        check_compressed([snapshot])
        sequences = [arrival.sequence for arrival in snapshot.arrivals]
        expected = list(range(self._taken, self._published))
        self._taken = self._published
        if sequences != expected or not snapshot.fewest == snapshot.most == self._published:
            raise LoadError(
                f"expected {self._published} events on each socket, got {snapshot.fewest} to "
                f"{snapshot.most}; {snapshot.closed} sockets were closed"
            )
        return snapshot

    def close(self) -> None:
        """Close every socket and end the reader."""
        self._loader.close()

    def _settle(self) -> None:
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._loader.events < self._published * self._sockets:
            if time.monotonic() > deadline:
                raise LoadError(
                    f"expected event {self._published} on {self._sockets:,} sockets in "
                    f"{_GRACE_SECONDS:g} s; {self._loader.events:,} deliveries of "
                    f"{self._published * self._sockets:,} came"
                )
            # The reader shares its core: look again only after a while.
            time.sleep(0.02)
