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


@pytest.fixture
def loop() -> Iterator[ClockworkLoop]:
    """An event loop for tests that are no coroutines; `ClockworkLoop.advance` moves its clock."""
    loop = ClockworkLoop()
    asyncio.set_event_loop(loop)
    yield loop
    loop.finish()
    asyncio.set_event_loop(None)
