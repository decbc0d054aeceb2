"""Child processes under measurement: started on given cores, measured, always ended by their pid.

CPU is user plus system time of the process and its children. Memory is what the process holds for
itself (USS: the private pages of smaps_rollup on Linux). The kernel's socket buffers count for no
process.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psutil

from clarion_bench.cores import running_on

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
# The kernel's clock of a process (clock_getcpuclockid) is made of its pid and this kind.
_CPU_CLOCK = 2


class StartError(RuntimeError):
    """A process ended at its start or did not become ready; holds the end of its output."""


class ServerProcess:
    """One running process, and the resources it uses."""

    def __init__(self, name: str, child: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._child = child
        self._log = log
        self._process = psutil.Process(child.pid)

    def cpu_seconds(self) -> float:
        """User and system time spent so far, children included."""
        total = 0.0
        for process in [self._process, *self._process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += _cpu_seconds(process)
        return total

    def memory_bytes(self) -> int:
        """Memory that would be free if the process ended now, children included."""
        total = 0
        for process in [self._process, *self._process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += int(process.memory_full_info().uss)
        return total

    def resident_bytes(self) -> int:
        """Memory of the process alone, pages that it shares with others included."""
        return int(self._process.memory_info().rss)

    def files(self) -> int:
        """Open file descriptors of the process alone."""
        return int(self._process.num_fds())

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready` returns True; fail if the process ends or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if self._child.poll() is not None:
                raise StartError(f"{self.name} ended at once:\n{self._last_lines()}")
            if time.monotonic() > deadline:
                raise StartError(
                    f"{self.name} was not ready in {_START_SECONDS:.0f} s:\n{self._last_lines()}"
                )
            time.sleep(0.05)

    def terminate(self) -> None:
        """Ask the process to leave (SIGTERM), without waiting for it."""
        self._child.terminate()

    def stop(self) -> None:
        """End the process: SIGTERM, then SIGKILL if it does not end."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def _last_lines(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    *,
    cores: frozenset[int],
    directory: Path,
    env: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """Run a command during the block; its output goes to `directory`/`name`.log."""
    log = directory / f"{name}.log"
    with log.open("ab") as output, running_on(cores):
        child = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches only the benchmark, which then ends its children in order.
            start_new_session=True,
        )
    process = ServerProcess(name, child, log)
    try:
        yield process
    finally:
        process.stop()


def _cpu_seconds(process: psutil.Process) -> float:
    """User and system time of one process: in nanoseconds on Linux, elsewhere as psutil has it.

    psutil's figures have steps of 10 ms on Linux, in which a short window may show no time at all.
    """
    with contextlib.suppress(OSError):  # the process has ended, or the system has no such clocks
        return time.clock_gettime(~process.pid << 3 | _CPU_CLOCK)
    times = process.cpu_times()
    return float(times.user + times.system)


def free_port() -> int:
    """Find a port on the loopback interface on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Say whether something listens on the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def answers_ok(url: str) -> bool:
    """Say whether a GET gets the status 200."""
    try:
        with urlopen(url, timeout=1) as response:  # noqa: S310 - a loopback URL made by us
            return bool(response.status == 200)
    except HTTPError as error:
        error.close()
        return False
    except (URLError, OSError):
        return False
