"""Losing and finding Redis: measured each time, logged once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from clarion_contract.bus.bus import Answer
from clarion_contract.events.audience import ALL
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Publication, Published
from clarion_publisher.ingestion.bus_probe import BusProbe
from clarion_publisher.ingestion.watched_bus import WatchedBus
from clarion_publisher.metrics import Metrics

GOOD = Published(1, duplicate=False, gateways=0)
EVENT = Publication(ALL, "t", b"1")


class NeverProbed:
    async def probe_streams(self, pod: str) -> list[str]:
        raise NotImplementedError

    async def probe_publishing(self, stream: str) -> None:
        raise NotImplementedError

    async def check(self) -> None:
        raise NotImplementedError


def probe() -> BusProbe:
    bus = NeverProbed()
    return BusProbe(bus, "p", interval_seconds=1, timeout_seconds=1, check=bus.check)


class ScriptedBus:
    """Gives the answers that the test sets."""

    def __init__(self) -> None:
        self.answers: list[Answer] | BusUnavailable = [GOOD]

    async def publish(self, publications: Sequence[Publication]) -> list[Answer]:
        if isinstance(self.answers, BusUnavailable):
            raise self.answers
        return self.answers


@pytest.mark.parametrize("lost", [BusUnavailable("gone"), [BusUnavailable("read only")] * 2])
async def test_a_lost_bus_is_logged_once(lost: list[Answer] | BusUnavailable) -> None:
    bus, metrics = ScriptedBus(), Metrics(CollectorRegistry())
    watched = WatchedBus(bus, metrics, probe())
    with capture_logs() as logs:
        await watched.publish([EVENT])
        bus.answers = lost
        for _ in range(3):
            if isinstance(lost, BusUnavailable):
                with pytest.raises(BusUnavailable):
                    await watched.publish([EVENT])
            else:
                assert await watched.publish([EVENT] * 2) == lost
        bus.answers = [GOOD]
        for _ in range(2):
            assert await watched.publish([EVENT]) == [GOOD]
    assert [record["event"] for record in logs] == ["bus lost", "bus found again"]

    def sample(name: str) -> float | None:
        return metrics.registry.get_sample_value(name)

    assert sample("clarion_publisher_bus_errors_total") == 3
    assert sample("clarion_publisher_pipeline_duration_seconds_count") == 6


async def test_one_refused_event_is_no_lost_bus() -> None:
    bus, metrics = ScriptedBus(), Metrics(CollectorRegistry())
    bus.answers = [GOOD, BusUnavailable("another type under the key")]
    with capture_logs() as logs:
        await WatchedBus(bus, metrics, probe()).publish([EVENT] * 2)
    assert logs == []
