"""Ports for processes that are told theirs: runs of free ones."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

# Below the ports that the kernel gives to outgoing connections (Linux: from 32768): a client of
# another test cannot take one between the look and the start.
_FIRST = 15_000
_LAST = 32_000


def free_ports(count: int) -> int:
    """The first of ``count`` consecutive ports that nobody listens on just now."""
    while True:
        first = random.randrange(_FIRST, _LAST - count)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return first
