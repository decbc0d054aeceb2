"""The reasons for which a gateway closes a connection, one row each.

docs/errors.md has the same table for authors of clients. Codes 4400-4499 are 4000 plus the HTTP
status with that meaning; the others are registered with IANA (RFC 6455, section 7.4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

# 125 bytes of a control frame's payload less the code (RFC 6455, section 5.5).
_REASON_MAX_BYTES: Final = 123


@dataclass(frozen=True, slots=True)
class Close:
    """A reason to close a connection.

    Attributes:
        code: of the WebSocket close frame.
        reason: in the close frame, at most 123 bytes (RFC 6455, section 5.5).
        label: of the metric ``clarion_closes_total``.
        status: HTTP status of the answer if an event stream is refused before it begins.
        reconnect: whether the client should come back by itself.
        retry_seconds: how long a client that is turned away should wait at least.
    """

    code: int
    reason: str
    label: str
    status: int
    reconnect: bool
    retry_seconds: int = 1


NORMAL: Final = Close(1000, "closed by the client", "normal", 200, reconnect=False)
PROTOCOL_ERROR: Final = Close(1002, "protocol error", "protocol_error", 400, reconnect=False)
UNSUPPORTED_DATA: Final = Close(
    1003, "expected text, got a binary message", "unsupported_data", 400, reconnect=False
)
ABNORMAL: Final = Close(1006, "connection lost", "abnormal", 499, reconnect=True)
INVALID_TEXT: Final = Close(
    1007, "expected valid UTF-8 in a text message", "invalid_text", 400, reconnect=True
)
DRAINING: Final = Close(1012, "draining, reconnect", "draining", 503, reconnect=True)
REBALANCING: Final = Close(1012, "rebalancing, reconnect", "rebalancing", 503, reconnect=True)
AT_CAPACITY: Final = Close(1013, "at capacity, reconnect later", "at_capacity", 503, reconnect=True)
UNAVAILABLE: Final = Close(
    1013, "not connected to the bus, reconnect later", "unavailable", 503, reconnect=True
)
KEEP_ALIVE: Final = Close(
    1011, "no answer to a ping, reconnect", "keep_alive_timeout", 408, reconnect=True
)
MALFORMED: Final = Close(4400, "too many malformed messages", "malformed", 400, reconnect=False)
INVALID_SINCE: Final = Close(
    4400,
    "expected since to be an event id of 1 to 16 digits",
    "invalid_since",
    400,
    reconnect=False,
)
INVALID_TOPIC: Final = Close(
    4400, "expected names of topics in the query", "invalid_topic", 400, reconnect=False
)
INVALID_LAST: Final = Close(
    4400, "expected last to be a number of events", "invalid_last", 400, reconnect=False
)
TOO_MANY_TOPICS: Final = Close(
    4400, "too many topics for one connection", "too_many_topics", 400, reconnect=False
)
INTERNAL_ERROR: Final = Close(1011, "internal error", "internal_error", 500, reconnect=True)
UNAUTHENTICATED: Final = Close(
    4401, "expected a valid token", "unauthenticated", 401, reconnect=False
)
EXPIRED: Final = Close(
    4401, "the token has expired, connect with a fresh one", "expired", 401, reconnect=False
)
REVOKED: Final = Close(
    4401, "the token was revoked, connect with a fresh one", "revoked", 401, reconnect=False
)
ISSUED_TOO_SOON: Final = Close(
    1013,
    "the token was issued in the second of a revocation, come back with a fresh one",
    "issued_too_soon",
    503,
    reconnect=True,
)
REFUSED: Final = Close(4403, "refused by the application", "refused", 403, reconnect=False)
BARRED: Final = Close(4403, "disconnected, do not come back", "barred", 403, reconnect=False)
SLOW_CONSUMER: Final = Close(4408, "slow consumer, reconnect", "slow_consumer", 408, reconnect=True)
OUTBOUND_FULL: Final = Close(
    4408, "slow consumer while the pod is short of memory", "outbound_full", 408, reconnect=True
)
INBOUND_FULL: Final = Close(
    1013, "too many messages are under way, reconnect later", "inbound_full", 503, reconnect=True
)
DISCONNECTED: Final = Close(4409, "disconnected, reconnect", "disconnected", 409, reconnect=True)
TOO_LARGE: Final = Close(4413, "message too large", "too_large", 413, reconnect=False)
NO_CONNECT: Final = Close(
    4408, "expected a CONNECT of Socket.IO in time", "no_connect", 408, reconnect=True
)
RATE_LIMITED: Final = Close(
    4429, "too many messages, reconnect later", "rate_limited", 429, reconnect=True
)
ADDRESS_LIMITED: Final = Close(
    4429,
    "too many handshakes from one address, reconnect later",
    "address_limited",
    429,
    reconnect=True,
)
TOO_MANY_CONNECTIONS: Final = Close(
    4429, "too many connections of this user", "too_many_connections", 429, reconnect=True
)


# Codes with which an application may refuse a client that should come back, or log in.
_OF_REFUSALS: Final = {
    close.label: close
    for close in (UNAUTHENTICATED, UNAVAILABLE, RATE_LIMITED, TOO_MANY_CONNECTIONS)
}


class Refused(Exception):
    """The connection is not to be; ``close`` says why."""

    def __init__(self, close: Close) -> None:
        super().__init__(close.reason)
        self.close = close


def invalid_topic(detail: str) -> Close:
    """`INVALID_TOPIC` with a reason that says what was wrong with the name; cut to 123 bytes."""
    return replace(INVALID_TOPIC, reason=_fitting(detail))


def invalid_last(detail: str) -> Close:
    """`INVALID_LAST` with a reason that says which numbers may be."""
    return replace(INVALID_LAST, reason=_fitting(detail))


def too_many_topics(limit: int, count: int) -> Close:
    """`TOO_MANY_TOPICS` with the limit, and the number that was asked for, in its reason."""
    reason = f"expected at most {limit} topics for one connection, got {count}"
    return replace(TOO_MANY_TOPICS, reason=reason)


def too_large(limit_bytes: int) -> Close:
    """`TOO_LARGE` with the limit in its reason."""
    return replace(TOO_LARGE, reason=f"expected messages of at most {limit_bytes} bytes")


def protocol_error(detail: str) -> Close:
    """`PROTOCOL_ERROR` with a reason that says what broke RFC 6455; cut to 123 bytes."""
    return replace(PROTOCOL_ERROR, reason=_fitting(detail))


def malformed(detail: str) -> Close:
    """`MALFORMED` with a reason that says what was expected; cut to 123 bytes."""
    return replace(MALFORMED, reason=_fitting(detail))


def unauthenticated(detail: str) -> Close:
    """`UNAUTHENTICATED` with a reason that says what was wrong with the token; cut to 123 bytes."""
    return replace(UNAUTHENTICATED, reason=_fitting(detail))


def refused(code: str, message: str) -> Close:
    """The close for a client that the application refuses at its handshake.

    Args:
        code: the application's. Some have a close of their own; all others are `REFUSED`.
        message: the application's; code and message are cut to 123 bytes.
    """
    close = _OF_REFUSALS.get(code, REFUSED)
    return replace(close, reason=_fitting(f"{code}: {message}"))


def disconnected(reason: str | None, *, reconnect: bool) -> Close:
    """The close of a user whom the application disconnects.

    Args:
        reason: the application's own; cut to 123 bytes. None: the reason of the row.
        reconnect: whether clients may come back: `DISCONNECTED`, or else `BARRED`.
    """
    close = DISCONNECTED if reconnect else BARRED
    return replace(close, reason=_fitting(reason)) if reason else close


def _fitting(detail: str) -> str:
    return detail.encode(errors="replace")[:_REASON_MAX_BYTES].decode(errors="ignore")
