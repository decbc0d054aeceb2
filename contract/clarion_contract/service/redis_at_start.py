"""The questions that both services ask Redis when they start."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.faults import VERSION
from clarion_contract.redis.version import Commanding, check_version
from clarion_contract.service.settings import InvalidSettings

_PATIENCE_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


async def refuse_old_redis(redis: Commanding) -> None:
    """Return if Redis is new enough, or cannot be asked now: the service starts without it.

    Raises:
        InvalidSettings: it is too old.
    """
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await check_version(redis)
    except BusUnavailable as error:
        if error.fault is VERSION:
            raise InvalidSettings([f"CLARION_REDIS_URL: {error}"]) from None
        _log.warning("Redis is not reached; starting without it", error=str(error))
    except TimeoutError:
        _log.warning("Redis is not reached; starting without it", error="no answer in time")
