"""`clarion_publisher.sources.socketio.channels.Channels`: whether a subscription has worked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clarion_contract.bus.bus import redis_from_url
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.url import parse_redis_url
from clarion_publisher.sources.socketio import channels
from clarion_publisher.sources.socketio.channels import Channels
from clarion_publisher.sources.socketio.stream import Bounds, Lease
from tests.publisher.sources.socketio.conftest import SECONDS
from tests.valkey import Valkey


async def test_the_next_pause_depends_on_whether_the_last_subscription_worked(
    tmp_path: Path,
) -> None:
    valkey = Valkey(tmp_path)
    valkey.start()
    redis = redis_from_url(valkey.url)
    lease = Lease(redis, "stream", "clarion", Bounds(10, 1_000))
    names = channels.Names("key", None, "probe", 1_000)
    heard = Channels(parse_redis_url(valkey.url), redis, names, lease)
    listening = asyncio.create_task(heard.listen())
    async with asyncio.timeout(SECONDS):
        while not heard.worked:
            await asyncio.sleep(0.01)
        valkey.kill()
        with pytest.raises(BusUnavailable):
            await listening
        assert heard.worked
        with pytest.raises(BusUnavailable):
            await heard.listen()
        assert not heard.worked
    await redis.aclose()
