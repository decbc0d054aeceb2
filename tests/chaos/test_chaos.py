"""Random failures while events flow: nothing is lost or doubled, and no client is told a falsehood.

This is a short run of `make chaos`, which can go on for any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.chaos.scenario import Kind, Scale, run

_SECONDS = 8.0
_FAILURES = 12
_SEEDS = {Kind.DATA_KEPT: 20, Kind.DATA_LOST: 21, Kind.FAILOVER: 22, Kind.CLUSTER: 23}


def pytest_asyncio_loop_factories(
    config: Any, item: Any
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
async def test_nothing_is_lost_or_doubled(tmp_path: Path, kind: Kind) -> None:
    """A loss is told if Redis loses data, and only then."""
    report = await run(_SEEDS[kind], Scale(_SECONDS, _FAILURES), tmp_path, kind)
    print(report)
    if not report.clean:
        pytest.fail(str(report))
    assert report.verdict.delivered > 0
    assert bool(report.ledger.wipes_us) is (kind is Kind.DATA_LOST)
    assert bool(report.ledger.failovers_us) is (kind in {Kind.FAILOVER, Kind.CLUSTER})
    assert any(entry.sender and entry.accepted_us for entry in report.ledger.entries)
    assert report.ledger.orders
    assert any(entry.topic and entry.accepted_us for entry in report.ledger.entries)
    assert report.topics
    assert report.topic_changes
