"""The life of a stack as recorded by a real Prometheus, for dashboards, alerts and the adapter."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.e2e.ports import free_ports
from tests.e2e.stack import Stack, make_stack
from tests.observability import backend, hour
from tests.observability.prometheus import SCRAPE_SECONDS, Drawn, Prometheus, Series
from tests.observability.traffic import SETTINGS, drive
from tests.postgres import postgresql
from tests.valkey import Valkey

HOUR_SCRAPE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Observed:
    """The time that Prometheus recorded, from ``start`` to ``end`` in seconds since the epoch."""

    prometheus: Prometheus
    start: float
    end: float
    scrape_seconds: float = SCRAPE_SECONDS

    def drawn(self, expr: str) -> Series:
        """The values that a panel would draw."""
        return self.prometheus.over(self.filled(expr), self.start, self.end, self._step())

    def points(self, expr: str) -> Drawn:
        """The values that a panel would draw, with their times."""
        return self.prometheus.drawn(self.filled(expr), self.start, self.end, self._step())

    def _step(self) -> float:
        """As Grafana chooses it: no more points than a panel has pixels, and no more than scrapes."""
        return max(self.scrape_seconds, (self.end - self.start) / 300)

    def filled(self, expr: str) -> str:
        """A panel's expression with its variables filled in, as Grafana does it."""
        interval = max(4 * self.scrape_seconds, self.scrape_seconds + self._step())
        variables = {
            "$__rate_interval": f"{math.ceil(interval)}s",
            "$__range": f"{math.ceil(self.end - self.start)}s",
            "$namespace": ".+",
            "$pod": ".+",
        }
        for name, value in variables.items():
            expr = expr.replace(name, value)
        assert "$" not in expr, expr
        return expr


@contextmanager
def observing(folder: Path) -> Iterator[Observed]:
    """Everything happens to a publisher and two gateways before the body runs."""
    with _recording(folder, SETTINGS, SCRAPE_SECONDS) as (stack, valkey, prometheus):
        start = asyncio.run(drive(stack, valkey, prometheus.last_scrape))
        yield Observed(prometheus, start, time.time())


def record_hour(folder: Path, seconds: float) -> None:
    """Record plausible traffic; `recorded_hour` reads it again."""
    with _recording(folder, hour.SETTINGS, HOUR_SCRAPE_SECONDS) as (stack, valkey, _):
        start = time.time()
        asyncio.run(hour.Hour(stack, valkey, seconds).run())
        (folder / "times.json").write_text(json.dumps([start, time.time()]))


@contextmanager
def recorded_hour(folder: Path) -> Iterator[Observed]:
    """What `record_hour` recorded in this folder."""
    start, end = json.loads((folder / "times.json").read_text())
    prometheus = Prometheus(folder, free_ports(1), {})
    try:
        prometheus.start()
        yield Observed(prometheus, start, end, HOUR_SCRAPE_SECONDS)
    finally:
        prometheus.kill()


@contextmanager
def _recording(
    folder: Path, settings: Mapping[str, str], scrape_seconds: float
) -> Iterator[tuple[Stack, Valkey, Prometheus]]:
    """A running stack that Prometheus scrapes."""
    with ExitStack() as exits:
        valkey = Valkey(folder)
        exits.callback(valkey.kill)
        valkey.start()
        postgres = exits.enter_context(postgresql())
        stack = make_stack(
            folder,
            valkey.url,
            "test-observability",
            PUBLISHER_SOCKETIO_REDIS_URL=valkey.url,
            PUBLISHER_OUTBOX_URL=postgres.new_outbox().url,
            GATEWAY_UPSTREAM_URL=exits.enter_context(backend.upstream()),
            **backend.SETTINGS,
            **settings,
        )
        targets = {
            f"{service.program.name}:9090": urlsplit(service.internal_url).netloc
            for service in stack.services
        }
        prometheus = Prometheus(folder, free_ports(1), targets, scrape_seconds)
        exits.callback(prometheus.kill)
        exits.enter_context(stack.running())
        prometheus.start()
        yield stack, valkey, prometheus
