"""Free ports for servers that must be given one. No other test takes them meanwhile."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

# Below the ports that the kernel gives to outgoing connections and to port 0 (Linux: from 32768):
# neither can take one between the look and the start.
_FIRST = 15_000
_LAST = 32_000
_BLOCK = 250


class Block:
    """Ports that belong to this process alone, among all test processes of the machine.

    A lock on a file stands for the block; the kernel releases it when the process ends.
    """

    def __init__(self) -> None:
        folder = Path(tempfile.gettempdir()) / f"clarion-test-ports-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        firsts = list(range(_FIRST, _LAST - _BLOCK + 1, _BLOCK))
        random.shuffle(firsts)
        for first in firsts:
            self._lock = (folder / str(first)).open("wb")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.close()
                continue
            self._first = self._next = first
            return
        raise RuntimeError(f"expected a free block of ports between {_FIRST} and {_LAST}")

    def take(self, count: int) -> int:
        """The first of ``count`` consecutive ports. Ports just used are given out last."""
        for _ in range(2 * _BLOCK):
            if self._next + count > self._first + _BLOCK:
                self._next = self._first
            first = self._next
            self._next += count
            if _are_free(range(first, first + count)):
                return first
        raise RuntimeError(f"expected {count} free ports from {self._first} on")


def free_ports(count: int) -> int:
    """The first of ``count`` consecutive ports on which nothing listens."""
    return _block(os.getpid()).take(count)


def free_port() -> int:
    """A port on which nothing listens."""
    return free_ports(1)


@cache
def _block(_process: int) -> Block:
    """Each process has its own block: a fork must not use its parent's."""
    return Block()


def _are_free(ports: range) -> bool:
    with ExitStack() as stack:
        try:
            for port in ports:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
