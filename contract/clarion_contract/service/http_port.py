"""The TCP connections of a port: their limits, their number, and their deadlines.

`clarion_contract.service.http_bounds` is the protocol that each connection speaks.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final, Protocol

import msgspec

from clarion_contract.service.serving import RESPONSE_HEADERS

_TICK_MAX_SECONDS: Final = 1.0
_TICKS_PER_LIMIT: Final = 10
# Reserved for Redis, other ports and files. A port that used the last descriptor could not even
# turn clients away.
_SPARE_DESCRIPTORS: Final = 128
_UNLIMITED_DESCRIPTORS: Final = 1 << 30


class Breach(Enum):
    """The ways in which a client can break a limit: reason in metrics, and status."""

    MALFORMED = ("malformed_request", 400)
    TOO_SLOW = ("head_too_slow", 408)
    HEAD_TOO_LARGE = ("head_too_large", 431)
    TOO_MANY_SOCKETS = ("too_many_sockets", 503)

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


class Watched(Protocol):
    """A connection as its port uses it."""

    loop: asyncio.AbstractEventLoop
    deadline: float

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
    ) -> None:
        """Begin without connections.

        Args:
            max_sockets: reduced if the process may not open so many files.
            refused: called with the reason of each refusal, to count it.
        """
        self.limits = limits
        self.max_sockets = min(max_sockets, _descriptors() - _SPARE_DESCRIPTORS)
        self.refused = refused
        self.open = 0
        self._watched: set[Watched] = set()
        shortest = min(limits.request_seconds, limits.idle_seconds or limits.request_seconds)
        self._tick_seconds = min(_TICK_MAX_SECONDS, shortest / _TICKS_PER_LIMIT)
        self._ticking = False

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than the port may hold."""
        return self.open > self.max_sockets

    def watch(self, protocol: Watched) -> None:
        """End the connection when its deadline passes, until `forget`."""
        self._watched.add(protocol)
        if not self._ticking:
            self._ticking = True
            protocol.loop.call_later(self._tick_seconds, self._tick, protocol.loop)

    def forget(self, protocol: Watched) -> None:
        """The connection is gone, or no longer speaks HTTP."""
        self._watched.discard(protocol)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for protocol in [each for each in self._watched if each.deadline <= now]:
            protocol.expire(now)
        self._ticking = bool(self._watched)
        if self._ticking:
            loop.call_later(self._tick_seconds, self._tick, loop)


def refusal_response(
    status: int, detail: str, *, headers: tuple[tuple[str, str], ...] = ()
) -> bytes:
    """A complete HTTP response that refuses a request, with a problem document (RFC 9457)."""
    title = HTTPStatus(status).phrase
    body = msgspec.json.encode(
        {"type": "about:blank", "title": title, "status": status, "detail": detail}
    )
    lines = [
        f"HTTP/1.1 {status} {title}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in RESPONSE_HEADERS.items()),
        "connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def _descriptors() -> int:
    """How many files the process may open, with a minimum so that some sockets remain."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _UNLIMITED_DESCRIPTORS
    return max(soft, 2 * _SPARE_DESCRIPTORS)
