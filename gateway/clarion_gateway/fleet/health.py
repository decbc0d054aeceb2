"""Whether a pod should get new clients: its own faults count, a Redis that is away does not.

All pods lose Redis at the same moment. If they all became unready, the Service would be empty:
clients would get the load balancer's 503, after which browsers' event streams do not come back. So
a pod that Redis has verified once stays ready without it (docs/decisions/0018).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.identity.keys import Keys
from clarion_contract.service.readiness import Health
from clarion_gateway.fleet.drain import Drain
from clarion_gateway.settings import GatewaySettings


class Verified(Protocol):
    """The part of `clarion_gateway.bus.subscription.Subscription` that health needs."""

    @property
    def verified_age_seconds(self) -> float:
        """Seconds since the bus was verified; infinite: never."""
        ...

    @property
    def trouble(self) -> BusUnavailable | None:
        """The failure that keeps the bus from being verified; None: there is none."""
        ...


class PodHealth:
    """Calculates the health of one pod."""

    def __init__(self, settings: GatewaySettings, bus: Verified, drain: Drain, keys: Keys) -> None:
        self._late_seconds = settings.probe_interval_seconds + settings.probe_timeout_seconds
        self._bus = bus
        self._drain = drain
        self._keys = keys

    def look(self, failing_jobs: Sequence[str]) -> Health:
        """The pod's health now.

        Args:
            failing_jobs: `clarion_contract.service.supervisor.Supervisor.obstacles`.
        """
        reasons = list(failing_jobs)
        if self._drain.begun:
            reasons.append("draining")
        if not self._keys.known:
            reasons.append(f"no keys from CLARION_JWT_JWKS_URL: {self._keys.failure}")
        lost = self._lost()
        if lost is None:
            return Health(tuple(reasons))
        if self._is_own():
            return Health((*reasons, lost))
        return Health(tuple(reasons), (lost,))

    def _lost(self) -> str | None:
        age_seconds, trouble = self._bus.verified_age_seconds, self._bus.trouble
        if age_seconds <= self._late_seconds:
            return None
        why = "no answer yet" if trouble is None else str(trouble)
        if trouble is not None and trouble.fault is not None:
            why = f"{trouble.fault.advice} ({trouble})"
        since = "never verified" if age_seconds == float("inf") else _not_for(age_seconds)
        return f"bus {since}: {why}"

    def _is_own(self) -> bool:
        """Whether other pods may well hear the bus: this one never did, or has wrong settings."""
        trouble = self._bus.trouble
        own = trouble is not None and trouble.fault is not None and trouble.fault.own
        return own or self._bus.verified_age_seconds == float("inf")


def _not_for(seconds: float) -> str:
    return f"not verified for {seconds:.1f} s"
