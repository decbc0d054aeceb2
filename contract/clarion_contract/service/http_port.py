"""The TCP connections of a port: their limits, their number, and their deadlines.

`clarion_contract.service.http_protocol` is the protocol that each connection speaks.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final, Protocol

import msgspec
import structlog

from clarion_contract.service import descriptors
from clarion_contract.service.http_response import whole_response

_TICK_MAX_SECONDS: Final = 1.0
_TICKS_PER_LIMIT: Final = 10
# Between two log lines that tell that clients are turned away for want of descriptors.
_TELL_SECONDS: Final = 60.0

_log = structlog.get_logger(__name__)


class Breach(Enum):
    """The ways in which a client can break a limit: reason in metrics, and status."""

    MALFORMED = ("malformed_request", 400)
    TOO_SLOW = ("head_too_slow", 408)
    HEAD_TOO_LARGE = ("head_too_large", 431)
    TOO_MANY_SOCKETS = ("too_many_sockets", 503)
    NO_DESCRIPTORS = ("no_descriptors", 503)

    def __init__(self, reason: str, status: int) -> None:
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of one connection.

    Attributes:
        head_max_bytes: of a request's line and headers; also of a body's trailers.
        request_seconds: from a request's first byte to its last.
        idle_seconds: before the first request and between two requests. None: the time for the
            first request begins with the connection.
        body_bytes_per_second: the slowest rate allowed for a body; 0: no limit.
    """

    head_max_bytes: int = 16_384
    request_seconds: float = 30
    idle_seconds: float | None = 75
    body_bytes_per_second: float = 0


class Due(Protocol):
    """When a connection's time is up.

    Attributes:
        at: on the loop's clock.
    """

    at: float


class Watched(Protocol):
    """A connection as its port uses it."""

    loop: asyncio.AbstractEventLoop

    @property
    def due(self) -> Due:
        """The connection's deadline."""
        ...

    def expire(self, now: float) -> None:
        """The deadline has passed."""


class Port:
    """The TCP connections of one port: counts them, limits them and ends them at their deadlines.

    One timer serves them all. With a timer per deadline, each request would cost two timers.

    Attributes:
        open: number of connections now, including those that no longer speak HTTP.
    """

    def __init__(
        self,
        limits: HttpLimits,
        *,
        max_sockets: int,
        refused: Callable[[str], None],
        takes_last: bool = False,
    ) -> None:
        """Begin without connections.

        Args:
            max_sockets: reduced if the process may not open so many files.
            refused: called with the reason of each refusal, to count it.
            takes_last: whether clients may have the process's last descriptors.
        """
        self.limits = limits
        self.max_sockets = min(max_sockets, descriptors.for_sockets())
        self.refused = refused
        self.open = 0
        self._watched: set[Watched] = set()
        shortest = min(limits.request_seconds, limits.idle_seconds or limits.request_seconds)
        self._tick_seconds = min(_TICK_MAX_SECONDS, shortest / _TICKS_PER_LIMIT)
        self._ticking = False
        self._below = None if takes_last else descriptors.last()
        self._told_at = -math.inf

    def refusal(self, transport: asyncio.Transport) -> tuple[Breach, str] | None:
        """Why a connection that has just come, and is counted, is one too many."""
        if self.open > self.max_sockets:
            detail = f"expected at most {self.max_sockets} connections on this port at a time"
            return Breach.TOO_MANY_SOCKETS, detail
        if self._below is None:
            return None
        connection = transport.get_extra_info("socket")
        if connection is None or connection.fileno() < self._below:
            return None
        self._tell()
        return Breach.NO_DESCRIPTORS, "no file descriptor is left for another connection"

    def watch(self, protocol: Watched) -> None:
        """End the connection when its deadline passes, until `forget`."""
        self._watched.add(protocol)
        if not self._ticking:
            self._ticking = True
            protocol.loop.call_later(self._tick_seconds, self._tick, protocol.loop)

    def forget(self, protocol: Watched) -> None:
        """The connection is gone, or no longer speaks HTTP."""
        self._watched.discard(protocol)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            _log.error(
                "clients are turned away: nearly all file descriptors are in use",
                connections=self.open,
                descriptors=descriptors.limit(),
            )

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for protocol in [each for each in self._watched if each.due.at <= now]:
            protocol.expire(now)
        self._ticking = bool(self._watched)
        if self._ticking:
            loop.call_later(self._tick_seconds, self._tick, loop)


def refusal_response(status: int, detail: str, *, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """A complete HTTP response that refuses a request, with a problem document (RFC 9457)."""
    title = HTTPStatus(status).phrase
    body = msgspec.json.encode(
        {"type": "about:blank", "title": title, "status": status, "detail": detail}
    )
    return whole_response(status, "application/problem+json", body, headers)
