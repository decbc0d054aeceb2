"""Connections to Redis: a pool for commands, and single ones for subscriptions.

The connections lead to one server, to the server that Sentinels name as the primary at the moment
of connecting, or to one node of a cluster.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from clarion_contract.redis.pool import CheckedPool
from clarion_contract.redis.resolving import (
    ResolvingConnection,
    SecureResolvingConnection,
    resolve,
    resolving,
)
from clarion_contract.redis.url import Host, RedisUrl

CONNECT_TIMEOUT_SECONDS: Final = 2.0
COMMAND_TIMEOUT_SECONDS: Final = 5.0
# How long one Sentinel may take to name the primary, before the next one is asked.
_SENTINEL_SECONDS: Final = 0.5
_RESOLVE_SENTINEL_SECONDS: Final = 0.4
# Enough to keep one Redis busy. Further callers wait their turn instead of being refused.
_CONNECTIONS_MAX: Final = 16

_SOCKET: Final[dict[str, Any]] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
    # redis-py applies it with asyncio.wait_for, which in Python 3.11 can swallow a cancellation.
    # Instead, every command here runs inside a timeout.
    "socket_timeout": None,
    # Without CLIENT SETINFO: an ACL need not allow it.
    "driver_info": None,
    # Clarion looks after its connections itself. With "auto", redis-py skips its check of them.
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}
_TCP: Final[dict[str, Any]] = {"socket_keepalive": True}


def pool_to(parsed: RedisUrl, node: Host | None = None) -> CheckedPool:
    """A pool of connections for commands; none is open yet.

    The pool never repeats a command by itself: a publish that got no answer may have run.

    Args:
        node: of a cluster; None: the server, or the primary.
    """
    return CheckedPool(
        **_options(parsed, node),
        max_connections=_CONNECTIONS_MAX,
        timeout=COMMAND_TIMEOUT_SECONDS,
        protocol=parsed.protocol,
    )


def subscribing_connection(parsed: RedisUrl, node: Host | None = None) -> AbstractConnection:
    """A connection for subscriptions, not connected yet."""
    # RESP2: redis-py passes its messages on unchanged, while for RESP3 pushes it awaits two
    # handlers per message. With both, the first field tells replies from pushes.
    pool = ConnectionPool(**_options(parsed, node), protocol=2)
    connection: AbstractConnection = pool.make_connection()
    return connection


def _options(parsed: RedisUrl, node: Host | None) -> dict[str, Any]:
    if node is not None:
        return resolving(_once(parsed.options)) | {"host": node[0], "port": node[1]}
    if not parsed.sentinels:
        return resolving(_once(parsed.options))
    secure = parsed.options.get("connection_class") is SSLConnection
    return {
        **_once(parsed.options),
        "connection_class": _SecurePrimaryConnection if secure else _PrimaryConnection,
        "connection_pool": _Primary(parsed),
    }


def _once(options: dict[str, Any]) -> dict[str, Any]:
    """Options that make redis-py try each command and each connect only once."""
    tcp = {} if "path" in options else _TCP
    return {**options, **_SOCKET, **tcp, "retry": Retry(NoBackoff(), 0)}


class _Primary:
    """The pool as redis-py's Sentinel connections see it: it tells them the primary's address."""

    is_master: Final = True
    check_connection: Final = False

    def __init__(self, parsed: RedisUrl) -> None:
        self._service = parsed.service
        self._sentinels = list(parsed.sentinels)
        self._options = _once(parsed.sentinel_options) | {"protocol": 2}

    async def get_master_address(self) -> Host:
        """The primary's address, from the first Sentinel that knows one.

        Raises:
            MasterNotFoundError: no Sentinel knows one.
        """
        failures: list[Exception] = []
        for host in tuple(self._sentinels):
            try:
                # One at a time, so that a Sentinel that hangs does not keep the others from being
                # asked.
                async with asyncio.timeout(_SENTINEL_SECONDS):
                    await resolve(*host, _RESOLVE_SENTINEL_SECONDS)
                    return await self._ask(host)
            except (RedisError, OSError) as error:
                failures.append(error)
                # Ask this Sentinel last from now on: it may be gone for long.
                self._sentinels.remove(host)
                self._sentinels.append(host)
        why = str(failures[0]) or type(failures[0]).__name__
        raise MasterNotFoundError(f"no Sentinel names a primary: {why}") from failures[0]

    async def _ask(self, host: Host) -> Host:
        # Not redis-py's `Sentinel`: cancelled while it closes its connections, it leaves them open.
        pool = CheckedPool(**self._options, host=host[0], port=host[1])
        try:
            primaries: Any = await Redis(connection_pool=pool).sentinel_masters()
        finally:
            await pool.disconnect()
        primary = primaries.get(self._service)
        if not primary or not primary["is_master"] or primary["is_sdown"] or primary["is_odown"]:
            raise MasterNotFoundError(
                f"the Sentinel {host[0]}:{host[1]} knows no healthy {self._service!r}"
            )
        return str(primary["ip"]), int(primary["port"])


class _PrimaryConnection(SentinelManagedConnection, ResolvingConnection):
    """A connection to the current primary."""

    async def connect_to(self, address: Host) -> None:
        """Connect, but leave a server that is not a primary: Sentinels may lag behind."""
        await super().connect_to(address)  # type: ignore[no-untyped-call]  # redis-py's
        await self.send_command("ROLE")
        role = await self.read_response()
        if role[0] != b"master":
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"{address[0]}:{address[1]} is no primary")


class _SecurePrimaryConnection(_PrimaryConnection, SecureResolvingConnection):
    pass
