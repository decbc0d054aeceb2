"""A small deploy: real servers, real clients that reconnect, and every event counted."""

from __future__ import annotations

from clarion_bench.avalanche import AvalancheOptions, avalanche
from clarion_bench.laboratory import laboratory
from clarion_bench.results import Report
from clarion_bench.table import tables
from tests.bench.test_results import MACHINE


def test_clients_of_a_draining_gateway_come_back_over_its_spread_and_miss_nothing() -> None:
    options = AvalancheOptions(
        servers=["clarion"],
        connections=150,
        events_per_second=20,
        pause_seconds=0.5,
        spread_seconds=2,
    )
    with laboratory() as bench:
        (result,) = avalanche(options, bench, lambda _: None)

    assert (result.missed, result.doubled, result.told, result.refused) == (0, 0, 0, 0)
    assert result.events > 0
    assert result.attempts >= result.connections == 150
    assert 0.5 <= result.first_closed_seconds < result.back_seconds, "after the pause"
    assert 0 < result.highest_in_100_ms <= result.highest_per_second <= result.attempts
    assert 0 < result.away_p50_seconds <= result.away_p99_seconds
    assert len(tables(Report(MACHINE, avalanche=[result]))) == 1
