"""File descriptors: how many the process may have open, and for whom some are kept.

Each connection is a descriptor. When none is left, uvloop closes new connections without a byte,
Redis cannot be reached again and no probe is answered. So three parts of the limit are kept apart:

- `raise_limit` sets some aside, beyond the soft limit. Only `set_aside` opens files with them: the
  internal port, which must answer whatever else goes wrong.
- the last ones below the soft limit are never for clients (`last`): a port turns clients away.
- `for_sockets` leaves room for Redis, the internal port and the files of handlers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from typing import Final

NONE_LEFT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The error numbers of `accept` and `open` for want of descriptors or memory."""

_SET_ASIDE: Final = 32
INTERNAL: Final = 100
"""Connections of the internal port that descriptors are kept for."""

# Those, 16 connections to each node of Redis, and what handlers open.
_OTHERS: Final = INTERNAL + 156
_LAST: Final = 64
_UNLIMITED: Final = 1 << 30


def raise_limit() -> None:
    """Raise the soft limit to the hard one, less the descriptors that are set aside.

    The soft limit is often 1,024, for programs that use select(2).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = hard if hard == resource.RLIM_INFINITY else hard - min(_SET_ASIDE, hard // 8)
    _set_soft(soft)


def hard_limit() -> int:
    """The number of descriptors that the machine allows the process to have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if hard == resource.RLIM_INFINITY else hard


def limit() -> int:
    """The number of descriptors that the process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def for_sockets() -> int:
    """The number of them that clients may have."""
    most = limit()
    return most - min(_OTHERS, most // 2)


def needed_for(sockets: int) -> int:
    """The hard limit that so many sockets of clients need."""
    return sockets + _OTHERS + _SET_ASIDE


def last() -> int:
    """The number from which on a descriptor is not for a client.

    The kernel gives out the lowest free number: one this high means that all lower ones are taken.
    """
    most = limit()
    return most - min(_LAST, most // 8)


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Within this context, files can also be opened with the descriptors that are set aside.

    Do not await in it: others would open theirs with them, too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _set_soft(hard)
    try:
        yield
    finally:
        _set_soft(soft)


@contextlib.contextmanager
def set_aside_if_needed() -> Iterator[None]:
    """As `set_aside`, but only when no other descriptor is left.

    Within `set_aside`, the process reports a higher limit than it has.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        with set_aside():
            yield
    else:
        yield


def _set_soft(soft: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS allows less than it reports
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
