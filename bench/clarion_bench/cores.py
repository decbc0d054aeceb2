"""The cores of the processes, and the number of sockets that a process may hold.

The server under test has a core to itself. Redis, the publishing process and the load client share
the others. On platforms that cannot pin processes (macOS), nothing is pinned, and the results say
so.
"""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """The division of this machine's cores; both sets are empty if nothing can be pinned."""

    server: frozenset[int]
    client: frozenset[int]

    @property
    def pinned(self) -> bool:
        """Whether servers and load client are kept apart."""
        return bool(self.server)


def split() -> Cores:
    """Give the highest usable core to the server, and the rest to everything else."""
    if not sys.platform.startswith("linux"):
        return Cores(frozenset(), frozenset())
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        return Cores(frozenset(), frozenset())
    return Cores(frozenset(usable[-1:]), frozenset(usable[:-1]))


@contextlib.contextmanager
def running_on(cores: frozenset[int]) -> Iterator[None]:
    """Run the block, and every process it starts, on these cores only.

    Children inherit the affinity from their first instruction on, threads included. Setting it
    later would miss the threads that Node starts immediately.
    """
    if not cores or not sys.platform.startswith("linux"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS reports an unlimited hard limit and then refuses it.
        wanted = hard if hard != resource.RLIM_INFINITY else 1 << 16
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
