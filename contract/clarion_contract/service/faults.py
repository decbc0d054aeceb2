"""The gauge of both services that tells why Redis refuses where waiting does not help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Gauge

from clarion_contract.events.errors import Fault
from clarion_contract.redis.faults import FAULTS


def fault_gauge(registry: CollectorRegistry, name: str) -> Gauge:
    """A gauge with one series for each fault."""
    gauge = Gauge(
        name,
        "1 while Redis refuses for a reason that does not pass by waiting, by reason.",
        ["fault"],
        registry=registry,
    )
    for fault in FAULTS:
        gauge.labels(fault.name)
    return gauge


def observe_faults(gauge: Gauge, current: Callable[[], Fault | None]) -> None:
    """Read the gauge from its owner at each scrape."""
    for fault in FAULTS:
        gauge.labels(fault.name).set_function(partial(_is, fault, current))


def _is(fault: Fault, current: Callable[[], Fault | None]) -> float:
    return float(current() is fault)
