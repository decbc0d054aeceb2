"""`clarion_contract.redis.server`: what is sent to a server, and what is not."""

from __future__ import annotations

from clarion_contract.bus.bus import redis_from_url
from clarion_contract.redis.server import Script
from tests.e2e.ports import free_port


async def test_no_calls_send_nothing() -> None:
    """A write of no bytes would keep a connection from being closed on some Pythons."""
    nobody = redis_from_url(f"redis://127.0.0.1:{free_port()}")
    assert await nobody.run(Script("heartbeat.lua"), []) == []
    await nobody.aclose()
