"""`clarion_contract.service.supervisor`: a job that raises is restarted, and the others go on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, Counter

from clarion_contract.service import supervisor as module
from clarion_contract.service.supervisor import Supervisor


@pytest.fixture
def failures() -> Counter:
    return Counter("failures", "Jobs that raised.", ["task"], registry=CollectorRegistry())


def counted(failures: Counter, job: str) -> float:
    return failures.labels(job)._value.get()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached():
            await asyncio.sleep(0.001)


class Job:
    """Raises as often as it is told, then runs for ever."""

    def __init__(self, raises: float) -> None:
        self.raises = raises
        self.started = 0
        self.cancelled = False

    async def run(self) -> None:
        self.started += 1
        if self.started <= self.raises:
            raise KeyError(f"bug {self.started}")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_a_job_that_raises_starts_anew_and_the_others_go_on(failures: Counter) -> None:
    unlucky, other = Job(raises=2), Job(raises=0)
    async with Supervisor(failures) as supervisor:
        supervisor.keep("unlucky", unlucky.run)
        supervisor.keep("other", other.run)
        await until(lambda: unlucky.started == 3)
        assert (other.started, other.cancelled) == (1, False)
        assert (counted(failures, "unlucky"), counted(failures, "other")) == (2, 0)
        assert not supervisor.given_up.is_set()
    assert unlucky.cancelled
    assert other.cancelled


async def test_readiness_names_a_job_that_fails_again_and_again_until_it_is_sound(
    failures: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SOUND_SECONDS", math.inf)
    job = Job(raises=3)
    async with Supervisor(failures) as supervisor:
        supervisor.keep("presence", job.run)
        await until(lambda: job.started == 4)
        assert supervisor.obstacles == ["job presence has failed, 3 times now: KeyError: 'bug 3'"]
        monkeypatch.setattr(module, "_SOUND_SECONDS", 0.0)
        await until(lambda: not supervisor.obstacles)


async def test_a_job_that_failed_once_and_runs_again_is_no_obstacle(failures: Counter) -> None:
    """The bug may affect all pods at once, and it must not make all of them unready for long."""
    job = Job(raises=1)
    async with Supervisor(failures) as supervisor:
        supervisor.keep("presence", job.run)
        await until(lambda: bool(supervisor.obstacles))
        await until(lambda: job.started == 2)
        assert supervisor.obstacles == []


async def test_a_job_that_returns_is_over(failures: Counter) -> None:
    done = asyncio.Event()

    async def once() -> None:
        done.set()

    async with Supervisor(failures) as supervisor:
        supervisor.keep("keys", once)
        await done.wait()
        await until(lambda: not supervisor._tasks)
        assert counted(failures, "keys") == 0


async def test_only_an_essential_job_that_never_runs_ends_the_service(failures: Counter) -> None:
    useful, essential = Job(raises=math.inf), Job(raises=math.inf)
    async with Supervisor(failures, give_up_seconds=0.1) as supervisor:
        supervisor.keep("presence", useful.run)
        await until(lambda: useful.started >= 4)
        assert not supervisor.given_up.is_set()
        supervisor.keep("delivery", essential.run, essential=True)
        async with asyncio.timeout(30):
            await supervisor.given_up.wait()


async def test_what_is_spawned_runs_once_and_its_failure_is_counted(failures: Counter) -> None:
    async def handshake() -> None:
        raise RuntimeError("bug")

    async with Supervisor(failures) as supervisor:
        supervisor.spawn("handshake", handshake())
        await until(lambda: counted(failures, "handshake") == 1)
        assert supervisor.obstacles == []
