"""Failures that both services know. Each service maps them to its own protocol."""

from __future__ import annotations


class BusUnavailable(Exception):
    """Redis did not take the command or did not answer. Temporary: retry with the same key."""


class BusUnreachable(BusUnavailable):
    """There was no connection to Redis. Nothing was sent, so sending again is safe."""


class IdempotencyKeyReused(Exception):
    """The idempotency key already names another event. The producer's fault: do not retry."""

    def __init__(self, id_: int) -> None:
        super().__init__(f"the idempotency key was used for another event, {id_}")
        self.id = id_


class OrdersFull(Exception):
    """The maximum number of orders is in force. Temporary: orders end."""


class InvalidToken(Exception):
    """The token identifies no user or service.

    Attributes:
        reason: a label value for metrics, one of ``malformed``, ``algorithm``,
            ``signature``, ``expired``, ``not_yet_valid``, ``audience``, ``issuer``, ``claims``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class KeysUnavailable(Exception):
    """The JWKS URL did not answer, so a token can be neither accepted nor refused. Temporary."""
