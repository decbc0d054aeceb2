"""Turns off the logs of these tests, and gives them an event loop whose clock they move."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.gateway.clockwork import ClockworkLoop


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _no_gap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time between two probes: it would have to pass in each test whose clock stands still."""
    if "gap" not in request.fixturenames:
        monkeypatch.setattr("clarion_gateway.bus.probe.GAP_SECONDS", 0.0)


@pytest.fixture
def loop() -> Iterator[ClockworkLoop]:
    """An event loop for tests that are no coroutines; `ClockworkLoop.advance` moves its clock."""
    loop = ClockworkLoop()
    asyncio.set_event_loop(loop)
    yield loop
    loop.finish()
    asyncio.set_event_loop(None)
