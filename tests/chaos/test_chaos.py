"""Failures at random while events flow: nothing lost, nothing doubled, and nobody told falsely.

A short run of what `make chaos` does for as long as one likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.chaos.scenario import Scale, run

_SECONDS = 8.0


def pytest_asyncio_loop_factories(
    config: Any, item: Any
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.mark.timeout(150)
@pytest.mark.parametrize("empties", [False, True], ids=["data kept", "data lost"])
async def test_nothing_is_lost_or_doubled(tmp_path: Path, empties: bool) -> None:
    """With ``empties`` Redis also comes back without data: then the loss is told, and only then."""
    report = await run(21 if empties else 20, Scale(_SECONDS), tmp_path, empties=empties)
    print(report)
    if not report.clean:
        pytest.fail(str(report))
    assert report.verdict.delivered > 1_000
    assert report.failures.total() >= 5
    assert bool(report.ledger.wipes_us) is empties
