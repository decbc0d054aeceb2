"""A backend of an application as a process, beside Clarion."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.cli.clarion import ROOT, environment
from tests.e2e.pages import SECONDS
from tests.e2e.ports import free_port
from tests.redis_topologies import wait_until


@contextmanager
def serving(
    command: Sequence[str], folder: Path, env: Mapping[str, str], url: str, status: int = 200
) -> Iterator[None]:
    """A backend, once it answers at a URL with a status."""
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, env=env)

    def answers() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(url, trust_env=False).status_code == status
        except httpx.ConnectError:
            return False

    try:
        wait_until(answers, f"the backend answers at {url}", SECONDS)
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def example(app: str, path: str = "/", **settings: str) -> Iterator[str]:
    """An example of the repository, run as its README says; yields its URL.

    Args:
        app: ``package.module:name``.
        path: of a page that answers once the example is ready.
    """
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with serving(command, ROOT, environment(**settings), f"{url}{path}"):
        yield url
