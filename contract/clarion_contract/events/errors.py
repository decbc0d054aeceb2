"""Failures that both services know. Each service maps them to its own protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Fault:
    """A reason for which Redis refuses that does not pass by waiting.

    Attributes:
        name: metric label, one of a closed set.
        advice: what is wrong and what to do, for operators. It shows no name of a user or a key.
        own: it lies in this service's settings, and other pods may have better ones.
        patience_seconds: how long it may be a failover that has just worked before.
    """

    name: str
    advice: str
    own: bool = False
    patience_seconds: float = 0.0


class BusUnavailable(Exception):
    """Redis did not take the command or did not answer. Retry with the same key, unless a fault
    is known.

    Attributes:
        fault: why waiting does not help; None: it is temporary.
    """

    def __init__(self, message: str = "", fault: Fault | None = None) -> None:
        super().__init__(message)
        self.fault = fault

    def again(self) -> Self:
        """The same error for another caller: a shared one would collect all their tracebacks."""
        return type(self)(str(self), self.fault)


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
