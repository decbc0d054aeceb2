"""Writes at the end of a pass of the event loop, for many sockets by one call.

A session that is polled has one answer for everything that is written to it now, so it waits for
the end of the pass. A call of its own for each of a thousand sessions costs more than the rest of
the wait.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

_log = structlog.get_logger(__name__)


class Flushing(Protocol):
    """A socket that has something to write."""

    def flush(self) -> None:
        """Write it."""
        ...


class Flushes:
    """The sockets of a pod that wait for the end of this pass."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Flushing] = []

    def add(self, socket: Flushing) -> None:
        """Flush a socket once everything that is being written now has been written."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        self._waiting.append(socket)

    def _run(self) -> None:
        sockets, self._waiting = self._waiting, []
        for socket in sockets:
            try:  # costs nothing unless something is raised
                socket.flush()
            except Exception:  # noqa: BLE001 - one socket's bug costs no other
                _log.exception("flush failed")
