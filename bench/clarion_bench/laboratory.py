"""The things that all measurements of a run share: the cores, one Redis, a folder for output."""

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from clarion_bench.broker import Broker, running_broker
from clarion_bench.cores import Cores, raise_file_limit, running_on, split
from clarion_bench.launch import Launch
from clarion_bench.processes import ServerProcess, running


@dataclass(frozen=True)
class Laboratory:
    """The argument of every measurement."""

    broker: Broker
    cores: Cores
    directory: Path

    def started(self, name: str, launch: Launch) -> AbstractContextManager[ServerProcess]:
        """Run a server on its core during the block."""
        return running(
            name,
            launch.command,
            cores=self.cores.server,
            directory=self.directory,
            env=launch.env,
        )

    @contextlib.contextmanager
    def serving(self, name: str, launch: Launch) -> Iterator[ServerProcess]:
        """The same, but the block begins once the server is ready."""
        with self.started(name, launch) as process:
            process.wait_ready(launch.ready)
            yield process


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
