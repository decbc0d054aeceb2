"""The oldest Redis that Clarion works with, and how a service finds out which one it has."""

from __future__ import annotations

import re
from typing import Any, Final, Protocol

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.faults import PERMISSIONS, VERSION

OLDEST: Final = (7, 0)


class Commanding(Protocol):
    """The part of a server or a cluster that is needed here."""

    async def command(self, *command: str | bytes | int) -> Any:  # noqa: ANN401 - as Redis has it
        """See `clarion_contract.redis.server.RedisServer.command`."""


async def check_version(redis: Commanding) -> None:
    """Return if Redis is new enough, or if its ACL does not let us ask.

    Raises:
        BusUnavailable: Redis is too old, which is a fault, or it does not answer.
    """
    try:
        info = bytes(await redis.command("INFO", "server")).decode()
    except BusUnavailable as error:
        if error.fault is PERMISSIONS:  # a publish will show what is missing
            return
        raise
    found = re.search(r"^redis_version:(\d+)\.(\d+)(\S*)", info, re.MULTILINE)
    if found is not None and (int(found[1]), int(found[2])) < OLDEST:
        version = f"{found[1]}.{found[2]}{found[3]}"
        raise BusUnavailable(f"Redis has version {version}; Clarion needs 7.0 or newer", VERSION)
