"""Keeps a service's background jobs running: a job that raises is restarted, the others run on.

A job is a coroutine that runs for ever, such as the keepalive of all connections. An exception from
a job is a bug. It is logged and counted, readiness names the job, and the job starts again after a
while. Only an essential job that has not run for a long time ends the process. Even then the
service drains first, so that clients are sent elsewhere.

    async with Supervisor(metrics.job_failures) as supervisor:
        supervisor.keep("keepalive", keepalive.run)
        supervisor.spawn("handshake", admission.open(connection, opening))
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Self

import structlog
from prometheus_client import Counter

_log = structlog.get_logger(__name__)

Job = Callable[[], Coroutine[Any, Any, None]]
Spawn = Callable[[str, Coroutine[Any, Any, None]], object]
"""`Supervisor.spawn`: runs a coroutine as a task; its failure is counted under the name."""

# Short after the first failure, longer if failures continue: a job that fails at once must neither
# take the CPU from the others nor fill the log.
_RETRY_SECONDS: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
# A job that has run this long since its last failure counts as sound again.
_SOUND_SECONDS: Final = 10.0
_AGAIN_AND_AGAIN: Final = 3
# Longer than any outage that heals by itself; by then clients are better off elsewhere.
GIVE_UP_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Failing:
    """A job that has raised.

    Attributes:
        error: the last error, in one line.
        times: failures since the job was last sound.
        since: when the first of them happened, in seconds of the loop's clock.
        running_since: when the job was restarted; None: it still waits for the restart.
    """

    error: str
    times: int
    since: float
    running_since: float | None = None


class Supervisor:
    """Runs jobs and restarts them; an async context manager that cancels them at its end.

    Attributes:
        given_up: set when an essential job has not run for `GIVE_UP_SECONDS`. The service should
            then drain and end.
    """

    def __init__(self, failures: Counter, *, give_up_seconds: float = GIVE_UP_SECONDS) -> None:
        """Set up.

        Args:
            failures: counts failures by the label ``task``; Prometheus itself uses ``job``.
        """
        self.given_up = asyncio.Event()
        self._failures = failures
        self._give_up_seconds = give_up_seconds
        self._failing: dict[str, _Failing] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def obstacles(self) -> list[str]:
        """For readiness: the jobs that do not run, or that fail repeatedly.

        A single failure does not count: the bug may affect all pods at once, and the job runs
        again in a moment.
        """
        self._forget_sound()
        return [
            f"job {name} has failed, {failing.times} times now: {failing.error}"
            for name, failing in self._failing.items()
            if failing.running_since is None or failing.times >= _AGAIN_AND_AGAIN
        ]

    def keep(self, name: str, job: Job, *, essential: bool = False) -> None:
        """Run a job until it returns; restart it whenever it raises.

        Args:
            essential: the service is useless without this job, and gives up if it does not run.
        """
        self._failures.labels(name)  # creates the series at 0, so the first failure is an increase
        self._start(self._keep(name, job, essential=essential))

    def spawn(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        """Run a job once, such as a client's handshake. An exception is logged and counted."""
        self._start(self._once(name, job))

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, name: str, job: Job, *, essential: bool) -> None:
        while True:
            try:
                await job()
            except Exception as error:  # noqa: BLE001 - a bug in one job ends no connection
                failing = self._note(name, error)
            else:
                self._failing.pop(name, None)
                return
            if essential and self._now() - failing.since >= self._give_up_seconds:
                _log.critical("giving up: an essential job does not run", job=name)
                self.given_up.set()
            delay = _RETRY_SECONDS[min(failing.times, len(_RETRY_SECONDS)) - 1]
            await asyncio.sleep(delay * (1 + random.random()))  # noqa: S311 - spreads, no secret
            failing.running_since = self._now()

    async def _once(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except Exception:  # noqa: BLE001 - one client's bug ends no other's connection
            self._failures.labels(name).inc()
            _log.exception("job failed", job=name)

    def _note(self, name: str, error: Exception) -> _Failing:
        self._forget_sound()
        self._failures.labels(name).inc()
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        failing = self._failing.get(name)
        if failing is None:
            failing = self._failing[name] = _Failing(line, 0, self._now())
        failing.error, failing.running_since = line, None
        failing.times += 1
        _log.error("job failed; it starts anew", job=name, times=failing.times, exc_info=error)
        return failing

    def _forget_sound(self) -> None:
        sound = self._now() - _SOUND_SECONDS
        for name, failing in list(self._failing.items()):
            if failing.running_since is not None and failing.running_since <= sound:
                del self._failing[name]

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
