"""Who a token speaks for. Pure values; `contract.tokens` verifies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claims:
    """What Clarion reads of a token.

    Attributes:
        subject: user id or service name.
        scopes: of the ``scope`` claim (RFC 8693, section 4.2).
        expires_at: seconds since the epoch.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: float
