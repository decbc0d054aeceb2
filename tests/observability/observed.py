"""The life of a stack as recorded by a real Prometheus, for dashboards, alerts and the adapter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.e2e.ports import free_ports
from tests.e2e.stack import make_stack
from tests.observability.prometheus import SCRAPE_SECONDS, Drawn, Prometheus, Series
from tests.observability.traffic import SETTINGS, drive
from tests.valkey import Valkey

# As Grafana fills them in: four scrapes, everything chosen.
VARIABLES: Final = {
    "$__rate_interval": f"{4 * SCRAPE_SECONDS:.0f}s",
    "$namespace": ".+",
    "$pod": ".+",
}


@dataclass(frozen=True)
class Observed:
    """The time that Prometheus recorded, from ``start`` to ``end`` in seconds since the epoch."""

    prometheus: Prometheus
    start: float
    end: float

    def drawn(self, expr: str) -> Series:
        """The values that a panel would draw."""
        return self.prometheus.over(filled(expr), self.start, self.end)

    def points(self, expr: str) -> Drawn:
        """The values that a panel would draw, with their times."""
        return self.prometheus.drawn(filled(expr), self.start, self.end)


def filled(expr: str) -> str:
    """A panel's expression with its variables filled in."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


@contextmanager
def observing(folder: Path) -> Iterator[Observed]:
    """Everything happens to a publisher and two gateways before the body runs."""
    valkey = Valkey(folder)
    valkey.start()
    try:
        stack = make_stack(folder, valkey.url, "test-observability", **SETTINGS)
        targets = {
            f"{service.program.name}:9090": urlsplit(service.internal_url).netloc
            for service in stack.services
        }
        prometheus = Prometheus(folder, free_ports(1), targets)
        try:
            with stack.running():
                prometheus.start()
                start = time.time()
                asyncio.run(drive(stack, valkey, prometheus.last_scrape))
                yield Observed(prometheus, start, time.time())
        finally:
            prometheus.kill()
    finally:
        valkey.kill()
