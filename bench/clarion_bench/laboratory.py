"""The things that all measurements of a run share: the cores, one Redis, a folder for output."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clarion_bench.broker import Broker, running_broker
from clarion_bench.cores import Cores, raise_file_limit, running_on, split


@dataclass(frozen=True)
class Laboratory:
    """The argument of every measurement."""

    broker: Broker
    cores: Cores
    directory: Path


@contextlib.contextmanager
def laboratory() -> Iterator[Laboratory]:
    """Set cores and limits, and run a Redis during the block."""
    raise_file_limit()
    cores = split()
    with (
        tempfile.TemporaryDirectory(prefix="clarion-bench-") as directory,
        running_on(cores.client),
        running_broker(cores.client, Path(directory)) as broker,
    ):
        yield Laboratory(broker, cores, Path(directory))
