"""One connection to a gateway, whatever carries it, and why it ends."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from clarion.client.messages import ServerMessage

# A gateway answers within GATEWAY_HANDSHAKE_SECONDS, 10 by default, also without Redis.
OPEN_SECONDS: Final = 12.0
# A gateway sends a ping message in each interval. When two are missing, the connection is dead,
# although nothing has closed it.
_DEAF_AFTER_INTERVALS: Final = 2


@dataclass(frozen=True, slots=True)
class End:
    """Why a connection ended, or did not come about.

    Attributes:
        code: a close code, an HTTP status, or the label of an event stream's ``$error``; 0: nothing
            came through; ``not_a_gateway``.
        after_seconds: the server's wish: wait so long.
        blocked: something on the way may let no such connection through.
    """

    code: int | str
    reason: str
    after_seconds: float | None = None
    blocked: bool = False


class NotConnected(Exception):
    """There is no connection; ``end`` says why."""

    def __init__(self, end: End) -> None:
        super().__init__(end.reason)
        self.end = end


class Connection(Protocol):
    """An open connection.

    Attributes:
        sends: whether the client can send messages to handlers.
        subscribes: whether its topics can change while it is open.
        identifies: whether its user can.
    """

    identifies: bool

    @property
    def subscribes(self) -> bool: ...  # noqa: D102 - see above

    @property
    def sends(self) -> bool: ...  # noqa: D102 - see above

    def expect_pings(self, interval_seconds: float | None) -> None:
        """Give the connection up when two pings in a row are missing; None: no pings come."""
        ...

    async def send(self, fields: dict[str, Any]) -> ServerMessage | None:
        """Send a message, if the connection is still there: its end fails all calls anyway.

        Returns:
            The answer; None: it comes by `receive`.

        Raises:
            NoAnswerError: there will be none.
        """
        ...

    async def receive(self) -> tuple[ServerMessage, str] | None:
        """The next message and its text; None: the connection has ended.

        Raises:
            NotAGateway: something else answers.
        """
        ...

    async def close(self) -> None:
        """End the connection."""
        ...

    @property
    def end(self) -> End:
        """Why it has ended."""
        ...


def deaf_seconds(interval_seconds: float | None) -> float | None:
    """The time without a sign of life after which a connection is dead; None: unknown."""
    return _DEAF_AFTER_INTERVALS * interval_seconds if interval_seconds else None


def refused(url: str, status: int, body: bytes, retry_after: str) -> End:
    """The meaning of an answer other than the one that was hoped for.

    Args:
        body: a problem document (RFC 9457), or whatever a proxy says.
        retry_after: the header; empty: there is none.
    """
    try:
        detail = msgspec.json.decode(body, type=_Refusal).detail
    except (msgspec.DecodeError, UnicodeDecodeError):
        detail = "is it a gateway's public port?" if status == 404 else ""
    reason = f"{url.partition('?')[0]} refused with status {status}"
    after = float(retry_after) if retry_after.isdecimal() else None
    return End(status, f"{reason}: {detail}" if detail else reason, after)


def unreachable(url: str, error: Exception) -> End:
    """The meaning of a TCP or TLS connection that does not come about."""
    host = urlsplit(url).netloc
    if isinstance(error, ssl.SSLError):
        return End(0, f"TLS with {host} failed: {error.reason or error}")
    return End(0, f"no gateway answers at {host}")


class _Refusal(msgspec.Struct):
    """The body of a gateway's refusal (RFC 9457)."""

    detail: str = ""
