"""Real processes of the two services, with limits and environments of their own."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx

from tests.conftest import SECRET
from tests.e2e.ports import free_port

SECONDS = 60
ROOT = Path(__file__).parent.parent


class Process:
    """One process of ``python -m clarion_gateway`` or ``clarion_publisher``."""

    def __init__(
        self,
        service: str,
        log: Path,
        redis_url: str = "redis://127.0.0.1:1",
        *,
        files: tuple[int, int] | None = None,
        host: str = "127.0.0.1",
        **env: str,
    ) -> None:
        """Start a ``gateway`` or ``publisher``. ``files``: its soft and hard limit of open files."""
        self.log = log
        self.host = host
        self.port, self.internal_port = free_port(), free_port()
        prefix = service.upper()
        environment = {
            "PATH": os.environ["PATH"],
            "CLARION_REDIS_URL": redis_url,
            "CLARION_JWT_SECRET": SECRET,
            f"{prefix}_HOST": host,
            f"{prefix}_PORT": str(self.port),
            f"{prefix}_INTERNAL_HOST": host,
            f"{prefix}_INTERNAL_PORT": str(self.internal_port),
            f"{prefix}_DRAIN_PAUSE_SECONDS": "0",
            **({"GATEWAY_DRAIN_SPREAD_SECONDS": "0"} if service == "gateway" else {}),
            **env,
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", f"clarion_{service}"],
                env={name: value for name, value in environment.items() if value},
                cwd=ROOT,
                stdout=output,
                stderr=output,
                preexec_fn=files  # noqa: PLW1509 - this thread only
                and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, files)),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def url(self) -> str:
        return f"http://{self._authority}:{self.port}"

    @property
    def internal_url(self) -> str:
        return f"http://{self._authority}:{self.internal_port}"

    @property
    def _authority(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host or "127.0.0.1"

    def internal(self, path: str) -> httpx.Response:
        return httpx.get(self.internal_url + path, trust_env=False, timeout=SECONDS)

    def ready(self) -> httpx.Response:
        return self.internal("/readyz")

    def metric(self, sample: str) -> float:
        """The value of one sample; it must exist."""
        for line in self.internal("/metrics").text.splitlines():
            if line.startswith(f"{sample} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"expected a sample {sample}")

    def wait_until_it_listens(self) -> None:
        self._wait(ready=False)

    def wait_until_it_is_ready(self) -> None:
        self._wait(ready=True)

    def _wait(self, *, ready: bool) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if self.ready().is_success or not ready:
                    return
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def listens(self) -> bool:
        """Whether the public port accepts connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> int:
        return self.process.wait(timeout=SECONDS)


@contextlib.contextmanager
def running(service: str, folder: Path, redis_url: str, **options: Any) -> Iterator[Process]:
    """A ready service until the context ends; its log is a file of that folder."""
    with Process(service, folder / f"{service}.log", redis_url, **options) as process:
        process.wait_until_it_is_ready()
        yield process
