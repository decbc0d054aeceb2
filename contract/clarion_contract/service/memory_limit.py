"""The memory that the process may use. Budgets are sized from it.

A container's limit is its cgroup's (cgroups(7)); outside of a container a limit may be set with
``ulimit`` (setrlimit(2)), and the machine's memory always is one.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_RESOURCES: Final = (resource.RLIMIT_AS, resource.RLIMIT_DATA)


def memory_limit_bytes(*, cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """The smallest of all limits on this process's memory.

    Args:
        cgroups: where the cgroup file systems are mounted, version 1 or 2.
        membership: which cgroups the process belongs to.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limits += [limit for limit in _of_cgroups(cgroups, membership) if limit > 0]
    for each in _RESOURCES:
        soft, _ = resource.getrlimit(each)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits)


def _of_cgroups(cgroups: Path, membership: Path) -> Iterator[int]:
    """Limits of the process's cgroup, and of all that it lies in.

    A container with a cgroup namespace of its own sees its cgroup as the root, whatever
    ``membership`` says; so the root counts too.
    """
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = root / path.strip("/")
        for folder in (own, *own.parents):
            text = _text(folder / name).strip()
            if text.isdecimal():  # "max": no limit
                yield int(text)
            if folder == root:
                break


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
