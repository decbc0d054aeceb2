"""Gateways for integration tests, on the event loop that production uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest
import uvloop

from tests.integration.pod import Pod, started

Start = Callable[..., AbstractAsyncContextManager[Pod]]


def pytest_asyncio_loop_factories(
    config: Any, item: Any
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def start(redis_url: str, namespace: str) -> Start:
    """Starts a gateway with special settings: ``async with start(compression=True) as pod``."""
    return partial(started, redis_url, namespace)


@pytest.fixture
async def pod(start: Start) -> AsyncIterator[Pod]:
    """A ready gateway with default settings."""
    async with start() as pod:
        yield pod
