"""Limits on the handshakes of one client address: how many a second, and how many under way.

A handshake is the dearest request that a stranger may send: it may cost a signature, a call of the
application, and a subscription at Redis. `clarion_gateway.clients.addresses` says where a client
is. A client whose address is not known, such as one in the pod's own network, has no limit.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from clarion_contract.service.token_buckets import TokenBuckets
from clarion_gateway.connections.close_codes import ADDRESS_LIMITED, Close

_log = structlog.get_logger(__name__)

# Between two log lines. One line is enough to find a proxy that was taken for a client.
_TELL_SECONDS: Final = 60.0


class AddressLimits:
    """The handshakes of all addresses.

    Each handshake asks `refusal` first. `begin` and `end` frame the work for it.
    """

    def __init__(
        self,
        *,
        per_second: float,
        burst: int,
        max_opening: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without handshakes.

        Args:
            per_second: handshakes per second; 0 means no limit.
            burst: handshakes at once.
            max_opening: handshakes under way; 0 means no limit.
        """
        self._per_second = per_second
        self._burst = burst
        self._max_opening = max_opening
        self._clock = clock
        self._buckets = TokenBuckets(rate=per_second, burst=burst, clock=clock)
        self._opening: Counter[str] = Counter()
        self._told_at = -math.inf

    def refusal(self, address: str | None) -> Close | None:
        """Count a new handshake; the close if it is one too many, or None.

        Args:
            address: of the client; None: not known.
        """
        if address is None:
            return None
        if self._max_opening and self._opening[address] >= self._max_opening:
            return self._refused(address, 1, f"at most {self._max_opening} handshakes at a time")
        wait_seconds = self._buckets.take(address)
        if wait_seconds is None:
            return None
        return self._refused(
            address,
            max(1, math.ceil(wait_seconds)),
            f"at most {self._per_second:g} handshakes a second, {self._burst} at once",
        )

    def begin(self, address: str | None) -> None:
        """A handshake is under way."""
        if address is not None:
            self._opening[address] += 1

    def end(self, address: str | None) -> None:
        """A handshake that `begin` has counted is over."""
        if address is None:
            return
        self._opening[address] -= 1
        if not self._opening[address]:
            del self._opening[address]

    def _refused(self, address: str, retry_seconds: int, limit: str) -> Close:
        now = self._clock()
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            _log.warning(
                "an address sends too many handshakes",
                address=address,
                expected=limit,
                hint="if this is a proxy of yours, name it in GATEWAY_TRUSTED_PROXIES",
            )
        reason = f"expected {limit} from one address"
        return replace(ADDRESS_LIMITED, reason=reason, retry_seconds=retry_seconds)
