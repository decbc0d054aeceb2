"""SIGTERM to a gateway in its own process, as Kubernetes sends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.conftest import SECRET
from tests.e2e.ports import free_port
from tests.integration.conftest import Start
from tests.integration.pod import SECONDS, eventually
from tests.integration.sockets import dialled, opened, streamed

ROOT = Path(__file__).parent.parent.parent
PAUSE_SECONDS = 3
START_SECONDS = 60
"""Imports take seconds where other tests use every core."""

# Runs until its file has appeared; others hear of its beginning and of its end.
SLOW = """
import asyncio
from pathlib import Path
from clarion import ALL, Handlers

handlers = Handlers()

@handlers.on("work")
async def work(message: str, context):
    await context.publish(ALL, "work.begun", None)
    while not Path(message).exists():
        await asyncio.sleep(0.01)
    await context.publish(ALL, "work.done", None)
"""


@dataclass
class Process:
    """A process of ``python -m clarion_gateway``, with what `dialled` needs of a pod."""

    port: int
    internal_port: int
    process: asyncio.subprocess.Process
    log: Path
    client: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    def url(self, path: str = "/ws") -> str:
        return f"{'ws' if path.startswith('/ws') else 'http'}://127.0.0.1:{self.port}{path}"

    async def readiness(self) -> tuple[int, list[str]]:
        """Status and reasons; 0 while nothing listens."""
        try:
            response = await self.client.get(f"http://127.0.0.1:{self.internal_port}/readyz")
        except httpx.TransportError:
            return 0, []
        return response.status_code, response.json()["reasons"]

    async def answers(self, status: int) -> None:
        async def does() -> bool:
            assert self.process.returncode is None, self.log.read_text()
            return (await self.readiness())[0] == status

        await eventually(does, seconds=START_SECONDS, what=f"/readyz answers {status}")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_code(self) -> int:
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()


@pytest.fixture
async def gateway(redis_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[Process]:
    """A ready gateway with a pause long enough to look around; it spreads closes over 0.5 s."""
    (tmp_path / "slow_application.py").write_text(SLOW)
    port, internal_port = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "CLARION_REDIS_URL": redis_url,
        "CLARION_NAMESPACE": namespace,
        "CLARION_JWT_SECRET": SECRET,
        "CLARION_POD": "pod-draining",
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_INTERNAL_HOST": "127.0.0.1",
        "GATEWAY_INTERNAL_PORT": str(internal_port),
        "GATEWAY_HANDLERS": "slow_application:handlers",
        "GATEWAY_DRAIN_PAUSE_SECONDS": str(PAUSE_SECONDS),
        "GATEWAY_DRAIN_SPREAD_SECONDS": "0.5",
        "GATEWAY_DRAIN_GRACE_SECONDS": "5",
    }
    log = tmp_path / "gateway.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "clarion_gateway",
            cwd=ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=stderr,
        )
    gateway = Process(port, internal_port, process, log)
    try:
        await gateway.answers(200)
        yield gateway
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await gateway.client.aclose()


async def test_a_pod_leaves_without_surprising_anybody(gateway: Process, start: Start) -> None:
    """During the pause the pod is unready but serves everything. Then clients get the hint and
    1012, within the spread. The process ends as soon as the pod is empty, with exit code 0."""
    async with (
        start(pod="pod-staying") as staying,
        opened(gateway) as first,
        opened(gateway) as second,
        streamed(gateway) as stream,
    ):
        await stream.welcomed()
        terminated_at = time.monotonic()
        gateway.terminate()
        await gateway.answers(503)
        reasons = (await gateway.readiness())[1]
        await staying.publish(type_="during.the.pause")
        during = [(await client.receive("event"))["type"] for client in (first, second)]
        during.append((await stream.receive()).type)
        async with opened(gateway) as late:
            welcomed_during_the_pause = late.welcome["kind"]

        hints = [await client.receive("reconnect") for client in (first, second)]
        hinted_after_seconds = time.monotonic() - terminated_at
        codes = [await client.closed() for client in (first, second)]
        stream_hint = await stream.receive()
        code = await gateway.exit_code()

    assert reasons == ["draining"]
    assert during == ["during.the.pause"] * 3
    assert welcomed_during_the_pause == "welcome"
    assert all(0 <= hint["after_ms"] <= 1_000 for hint in hints)
    assert [hint["reason"] for hint in hints] == ["draining"] * 2
    assert [code for code, _ in codes] == [1012, 1012]
    assert stream_hint.type == "$reconnect"
    assert stream.retry is not None
    assert code == 0
    assert hinted_after_seconds >= PAUSE_SECONDS - 0.1
    assert "Traceback" not in gateway.log.read_text()


async def test_a_handler_under_way_finishes(gateway: Process, start: Start, tmp_path: Path) -> None:
    """The sender has been told to leave, but the handler finishes, and the pod waits for it.
    Clients that come meanwhile are refused."""
    release = tmp_path / "release"
    async with start(pod="pod-staying") as staying, opened(staying) as witness:
        async with opened(gateway) as sender:
            await sender.send(kind="message", ref=1, type="work", data=str(release))
            begun = (await witness.receive("event"))["type"]
            gateway.terminate()
            sender_code, _ = await sender.closed()
        with pytest.raises(InvalidStatus) as refused:
            async with dialled(gateway):
                pass
        alive = gateway.process.returncode is None
        release.touch()
        done = (await witness.receive("event"))["type"]
        code = await gateway.exit_code()

    assert (begun, done) == ("work.begun", "work.done")
    assert sender_code == 1012
    assert refused.value.response.status_code == 503
    assert "Retry-After" in refused.value.response.headers
    assert alive
    assert code == 0


async def test_a_handler_that_never_ends_does_not_keep_the_pod(
    gateway: Process, start: Start, tmp_path: Path
) -> None:
    """It is cancelled when the drain's grace is over."""
    async with start(pod="pod-staying") as staying, opened(staying) as witness:
        async with opened(gateway) as sender:
            await sender.send(kind="message", ref=1, type="work", data=str(tmp_path / "never"))
            await witness.receive("event")
            gateway.terminate()
            await sender.closed()
        code = await gateway.exit_code()

    assert code == 0


async def test_a_second_signal_ends_the_pod(gateway: Process, start: Start, tmp_path: Path) -> None:
    """A second signal ends the process at once, as an impatient operator expects."""
    async with start(pod="pod-staying") as staying, opened(staying) as witness:
        async with opened(gateway) as sender:
            await sender.send(kind="message", ref=1, type="work", data=str(tmp_path / "never"))
            await witness.receive("event")
            gateway.terminate()
            await sender.closed()
        gateway.terminate()
        code = await gateway.exit_code()

    assert code in {128 + signal.SIGTERM, -signal.SIGTERM}, "the second signal ends it at once"
