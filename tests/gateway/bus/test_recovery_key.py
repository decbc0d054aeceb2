"""`clarion_gateway.bus.recovery_key`: all pods come to one key, and a Redis that lost it gets it back."""

from __future__ import annotations

import asyncio

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_gateway.bus.recovery_key import RecoveryKey
from clarion_gateway.wire.socketio.recovery import Recovery
from tests.integration.pod import settings_of


async def test_pods_share_the_first_ones_key_and_give_it_back_to_redis(
    redis_url: str, namespace: str
) -> None:
    settings = settings_of(redis_url, namespace)
    keyspace = settings.keyspace
    bus = Bus(redis_from_url(redis_url), keyspace, settings.history)
    try:
        pods = [Recovery() for _ in range(5)]
        jobs = [RecoveryKey(bus, keyspace, pod) for pod in pods]
        await asyncio.gather(*(job.load() for job in jobs))
        (key,) = {pod.key for pod in pods}
        assert key is not None
        assert len(key) == 32
        await bus.command("SET", keyspace.recovery_key, "00" * 32)
        await jobs[0].load()
        assert pods[0].key == bytes(32), "what is in Redis counts"
        await bus.command("EXPIRE", keyspace.recovery_key, 0)
        await jobs[1].load()
        late = Recovery()
        await RecoveryKey(bus, keyspace, late).load()
        assert late.key == pods[1].key == key
    finally:
        await bus.aclose()
