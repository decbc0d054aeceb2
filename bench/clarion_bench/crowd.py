"""The crowd: all sockets to one server, held by two load processes (see `load.py`).

Some sockets, for example every hundredth, are samples. They are opened among the others, so that
latencies come from all of a server's order of delivery and not only from its first sockets.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from ctypes import c_ulonglong
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection as Pipe
from typing import cast

from clarion_bench.cores import raise_file_limit
from clarion_bench.dialects import Dialect
from clarion_bench.load import LoadProcess, Opened, Orders, Progress, Snapshot
from clarion_bench.polls import PollingProcess
from clarion_bench.watch import WatchProcess

_ANSWER_SECONDS = 90.0
BULK_PAUSE_SECONDS = 0.05
CONCURRENCY = 50


class LoadError(RuntimeError):
    """A load process did not answer or could not open its sockets."""


@dataclass(frozen=True)
class Tally:
    """The snapshots of several load processes, added up."""

    events: int
    fewest: int
    most: int
    closed: int
    misordered: int
    frame_bytes: int
    cpu_seconds: float
    latencies_ns: list[int]


def added_up(snapshots: Sequence[Snapshot]) -> Tally:
    """Add up the snapshots of all load processes; those without sockets do not count as uneven."""
    holding = [snapshot for snapshot in snapshots if snapshot.most] or snapshots
    return Tally(
        events=sum(snapshot.events for snapshot in snapshots),
        fewest=min(snapshot.fewest for snapshot in holding),
        most=max(snapshot.most for snapshot in holding),
        closed=sum(snapshot.closed for snapshot in snapshots),
        misordered=sum(snapshot.misordered for snapshot in snapshots),
        frame_bytes=max(snapshot.frame_bytes for snapshot in snapshots),
        cpu_seconds=sum(snapshot.cpu_seconds for snapshot in snapshots),
        latencies_ns=[late for snapshot in snapshots for late in snapshot.latencies_ns],
    )


class Loader:
    """A load process, as the benchmark controls it."""

    def __init__(self, orders: Orders) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe: Pipe
        self._pipe, theirs = context.Pipe()
        self._progress = cast("Progress", context.RawValue(c_ulonglong, 0))
        self._process = context.Process(
            target=_run, args=(orders, theirs, self._progress), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return cast("int", self._process.pid)  # it is started

    @property
    def events(self) -> int:
        """Events received so far, without a request to the process."""
        return self._progress.value

    def open(self, queries: Sequence[str], concurrency: int) -> Opened:
        """Open one socket per query string."""
        return cast("Opened", self._ask("open", (list(queries), concurrency)))

    def snapshot(self) -> Snapshot:
        """Ask the process for its counters."""
        return cast("Snapshot", self._ask("snapshot", None))

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the process during the block, so that it reads nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Close all sockets and end the process."""
        with contextlib.suppress(BrokenPipeError, OSError):
            self._pipe.send(("stop", None))
        self._process.join(2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(5)
        self._pipe.close()

    def _ask(self, name: str, argument: object) -> object:
        try:
            self._pipe.send((name, argument))
            if self._pipe.poll(_ANSWER_SECONDS):
                return self._pipe.recv()
        except (EOFError, BrokenPipeError) as error:
            raise LoadError(f"the load process died during {name!r}") from error
        raise LoadError(f"the load process did not answer {name!r} in {_ANSWER_SECONDS:.0f} s")


class Crowd:
    """All sockets to one server."""

    def __init__(self, port: int, dialect: Dialect, stride: int = 1) -> None:
        bulk = Orders(
            port, dialect, sampling=False, pause_seconds=BULK_PAUSE_SECONDS, stride=stride
        )
        self._bulk = Loader(bulk)
        self._sample = Loader(replace(bulk, sampling=True, pause_seconds=0.0))

    @property
    def events(self) -> int:
        """Deliveries received so far, up to each process's last round of reading."""
        return self._bulk.events + self._sample.events

    def open(
        self, queries: Sequence[str], sampled: int = 0, *, at_once: int = CONCURRENCY
    ) -> Opened:
        """Open one socket per query string; `sampled` of them, evenly spread, are samples.

        Args:
            at_once: so many handshakes are under way.
        """
        seconds = 0.0
        for loader, part in self._turns(queries, sampled):
            opened = loader.open(part, at_once)
            seconds += opened.seconds
            if opened.failures:
                raise LoadError(
                    f"{opened.failures} of {len(part)} sockets could not be opened: {opened.reason}"
                )
        return Opened(len(queries), seconds, 0)

    def _turns(
        self, queries: Sequence[str], sampled: int
    ) -> Iterator[tuple[Loader, Sequence[str]]]:
        if not sampled:
            yield self._bulk, queries
            return
        stride = max(2, len(queries) // sampled)
        for start in range(0, len(queries), stride):
            part = queries[start : start + stride]
            yield self._bulk, part[:-1]
            yield self._sample, part[-1:]

    def tally(self) -> Tally:
        """Ask both processes. Latencies are those since the last call.

        Raises:
            LoadError: permessage-deflate was agreed on, and yet events came uncompressed.
        """
        snapshots = [self._bulk.snapshot(), self._sample.snapshot()]
        check_compressed(snapshots)
        return added_up(snapshots)

    def close(self) -> None:
        """Close every socket and end both processes."""
        self._bulk.close()
        self._sample.close()


def check_compressed(snapshots: Sequence[Snapshot]) -> None:
    """Fail if permessage-deflate was agreed on, and yet events came uncompressed."""
    if plain := sum(snapshot.plain for snapshot in snapshots):
        events = sum(snapshot.events for snapshot in snapshots)
        raise LoadError(
            f"expected compressed events, with RSV1: {plain:,} of {events:,} deliveries came "
            "without it, although the server agreed on permessage-deflate"
        )


def _run(orders: Orders, pipe: Pipe, progress: Progress) -> None:
    """Run a load process. The parent handles Ctrl-C and then closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_file_limit()
    if not orders.sampling and not orders.watching:
        os.nice(10)
    _process(orders)(orders, pipe, progress).run()


def _process(orders: Orders) -> type[LoadProcess]:
    if orders.watching:
        return WatchProcess
    return PollingProcess if orders.dialect.polls else LoadProcess
