"""The Redis of Socket.IO's producers: reachable, with every right that publishers need there."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from clarion_cli.checks.finding import Finding, works, wrong
from clarion_cli.checks.redis import Redis, judge, parse_info, unusable
from clarion_cli.failure import ExitCode
from clarion_cli.valkey import without_password
from clarion_contract.bus.bus import redis_from_url
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.cluster import RedisCluster
from clarion_contract.redis.faults import PERMISSIONS
from clarion_contract.redis.url import parse_redis_url
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.socketio.build import names_of
from clarion_publisher.sources.socketio.channels import Channels
from clarion_publisher.sources.socketio.stream import Bounds, Lease, Look

_URL: Final = "PUBLISHER_SOCKETIO_REDIS_URL"
_SECONDS: Final = 10.0
# Any entry but the one of the position: noting it tries the rights to do so.
_NOTHING: Final = Look((), 0, "0-1", 0, 0.0)


async def check_producers(settings: PublisherSettings, url: str) -> AsyncIterator[Finding]:
    """Try the producers' Redis as a publisher would, under a name of its own.

    The publisher that reads there goes on reading.
    """
    shown = without_password(url)
    redis = redis_from_url(url)
    try:
        async with asyncio.timeout(_SECONDS):
            for finding in await _server(redis):
                yield msgspec.structs.replace(finding, services=("publisher",))
            await _read(settings, url, redis)
    except (BusUnavailable, TimeoutError) as error:
        finding = unusable(_URL, shown, error)
        if isinstance(error, BusUnavailable) and error.fault is PERMISSIONS:
            message = f"the user at {shown} lacks a right: {error}"
            finding = wrong(_URL, message, code=ExitCode.REFUSED)
        yield msgspec.structs.replace(finding, services=("publisher",))
    else:
        yield works(_URL, f"the user at {shown} may read the stream and hear the channels")
    finally:
        await redis.aclose()


async def _server(redis: Redis) -> list[Finding]:
    """Faults and doubts about the server, as far as the user may know it."""
    await redis.command("PING")
    try:
        info = parse_info(bytes(await redis.command("INFO")).decode(errors="replace"))
    except BusUnavailable:
        return []
    clustered = isinstance(redis, RedisCluster)
    return judge(info, about=_URL, clustered=clustered, replicas=0)


async def _read(settings: PublisherSettings, url: str, redis: Redis) -> None:
    """Read the stream and hear the channels, with a lease on nothing.

    Raises:
        BusUnavailable: that is not possible.
    """
    stream, names = names_of(settings)
    own = f"{settings.namespace}:socketio:check-{secrets.token_hex(4)}"
    lease = Lease(redis, stream, own, Bounds(1, names.message_bytes))
    await lease.look()
    try:
        if names.key or names.channel:
            await _hear(Channels(parse_redis_url(url), redis, names, lease))
    finally:
        lease.done(_NOTHING)
        await lease.resign()
        await lease.forget()


async def _hear(channels: Channels) -> None:
    """Return once a probe has come back."""
    listening = asyncio.ensure_future(channels.listen())
    try:
        while not channels.worked:
            done, _ = await asyncio.wait([listening], timeout=0.02)
            for each in done:
                each.result()
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError, BusUnavailable):
            await listening
