"""Redis: reachable, new enough, with every right that Clarion needs, and safe to keep events in."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from clarion_cli.checks.finding import Finding, doubtful, works, wrong
from clarion_cli.failure import ExitCode
from clarion_cli.valkey import OLDEST_VERSION, cause_of, without_password
from clarion_contract.bus.bus import redis_from_url
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.cluster import RedisCluster
from clarion_contract.redis.cluster_subscriber import ClusterSubscriber
from clarion_contract.redis.keyspace import pod_stream
from clarion_contract.redis.server import Call, RedisServer, Script
from clarion_contract.redis.subscriber import Subscriber
from clarion_contract.service.settings import ContractSettings

_URL: Final = "CLARION_REDIS_URL"
_SECONDS: Final = 5.0
_CATEGORIES: Final = (
    (r"X", "@stream"), (r"H", "@hash"), (r"Z", "@sortedset"), (r"S?PUBLISH$", "@pubsub"),
    (r"(GET|SET|APPEND|STRLEN)$", "@string"), (r"P?EXPIRE", "@keyspace"), (r"TIME$", "@fast"),
)  # fmt: skip

Redis = RedisServer | RedisCluster


async def check_redis(settings: ContractSettings) -> AsyncIterator[Finding]:
    """Try everything that the services need, with a few keys that end after a second."""
    shown = without_password(settings.redis_url)
    redis = redis_from_url(settings.redis_address)
    try:
        try:
            async with asyncio.timeout(_SECONDS):
                await redis.command("PING")
        except (BusUnavailable, TimeoutError) as error:
            yield unusable(_URL, shown, error)
            return
        async for finding in _server(redis, settings, shown):
            yield finding
        async for finding in _rights(redis, settings, shown):
            yield finding
    finally:
        await redis.aclose()


def unusable(about: str, shown: str, error: BaseException) -> Finding:
    """A server that does not answer, or refuses."""
    text = cause_of(error) if str(error) else f"no answer within {_SECONDS:g} s"
    if re.search("NOAUTH|WRONGPASS|AuthenticationError|NOPERM|NoPermission", text):
        return wrong(about, f"{shown} refuses the login: {text}", code=ExitCode.REFUSED)
    return wrong(about, f"nothing usable answers at {shown}: {text}", code=ExitCode.UNREACHABLE)


async def _server(redis: Redis, settings: ContractSettings, shown: str) -> AsyncIterator[Finding]:
    try:
        info = parse_info(bytes(await redis.command("INFO")).decode(errors="replace"))
    except BusUnavailable as error:
        yield doubtful(_URL, f"INFO is not permitted, so its version is not known: {error}")
        return
    clustered = isinstance(redis, RedisCluster)
    for finding in judge(info, clustered=clustered, replicas=settings.wait_replicas):
        yield finding
    yield works(_URL, f"{shown} is {describe(info)}")


def parse_info(text: str) -> dict[str, str]:
    """The fields of the answer to INFO."""
    return dict(re.findall(r"^(\w+):(.*?)\r?$", text, flags=re.MULTILINE))


def describe(info: Mapping[str, str]) -> str:
    """A server in a few words, such as ``Valkey 9.0.1, standalone, noeviction, appendonly``."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "of an unknown version")
    mode = info.get("redis_mode") or info.get("server_mode", "standalone")
    kept = "appendonly" if info.get("aof_enabled") == "1" else "no append-only file"
    return f"{name} {version}, {mode}, {info.get('maxmemory_policy', 'eviction unknown')}, {kept}"


def judge(
    info: Mapping[str, str], *, about: str = _URL, clustered: bool, replicas: int
) -> list[Finding]:
    """Report properties of a server that Clarion cannot work with, or that lose events.

    Args:
        about: the variable that names the server.
        clustered: the URL is that of a cluster.
        replicas: CLARION_WAIT_REPLICAS.
    """
    found = []
    version = info.get("redis_version", "0")
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        message = f"Redis is version {version}; Clarion needs {oldest} or newer"
        found.append(wrong(about, message, code=ExitCode.SETUP))
    if clustered != (info.get("cluster_enabled", "0") == "1"):
        message = (
            "the server is no cluster; write redis:// instead of redis+cluster://"
            if clustered
            else "the server is a node of a cluster; write redis+cluster:// instead of redis://"
        )
        found.append(wrong(about, message, code=ExitCode.SETUP))
    if info.get("role") == "slave":
        message = "the server is a replica, which takes no events; name the primary"
        found.append(wrong(about, message, code=ExitCode.SETUP))
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        message = f"with maxmemory-policy {policy}, Redis drops events; set noeviction"
        found.append(doubtful(about, message))
    if info.get("aof_enabled") == "0":
        message = "without appendonly, a restart of Redis loses events, and clients are told"
        found.append(doubtful(about, message))
    if not clustered and int(info.get("connected_slaves", replicas)) < replicas:
        message = f"Redis has {info['connected_slaves']} replicas, so every publish gets 503"
        found.append(wrong("CLARION_WAIT_REPLICAS", message, code=ExitCode.SETUP))
    return found


async def _rights(redis: Redis, settings: ContractSettings, shown: str) -> AsyncIterator[Finding]:
    keys = settings.keyspace
    stream = pod_stream(f"check-{secrets.token_hex(4)}")
    names = [keys.log(stream), keys.meta(stream), keys.key(stream, "a"), keys.key(stream, "b")]
    call: Call = (len(names), *names, keys.channel(stream), keys.publish_command)
    reply: Any
    try:
        (reply,) = await redis.run(Script("permissions.lua"), [call])
    except BusUnavailable as error:
        reply = error
    if isinstance(reply, Exception):
        message = f"scripts do not run (EVALSHA, SCRIPT LOAD; @scripting): {reply}"
        yield wrong(_URL, message, code=ExitCode.REFUSED)
        return
    failed = [(bytes(command).decode(), bytes(text).decode()) for command, text in reply]
    for command, text in failed:
        yield _refused(command, text, keys.channel("*"))
    subscribed = await _subscribe(redis, settings, stream)
    if subscribed is not None:
        yield subscribed
    if not failed and subscribed is None:
        yield works(_URL, f"the user at {shown} has every right on keys and channels")


def _refused(command: str, error: str, channels: str) -> Finding:
    if not re.search("NOPERM|permission", error, flags=re.IGNORECASE):
        code = ExitCode.UNAVAILABLE if error.startswith("OOM") else ExitCode.SETUP
        return wrong(_URL, f"{command} fails: {error}", code=code)
    if "channel" in error:
        needed = f"the channels {channels}"
    else:
        category = next(name for start, name in _CATEGORIES if re.match(start, command))
        needed = f"{command} ({category}), or the keys"
    message = f"the user lacks the right to {needed}: {error}"
    return wrong(_URL, message, code=ExitCode.REFUSED)


async def _subscribe(redis: Redis, settings: ContractSettings, stream: str) -> Finding | None:
    subscriber: Subscriber | ClusterSubscriber
    if isinstance(redis, RedisCluster):
        subscriber = ClusterSubscriber(settings.redis_address, settings.keyspace, redis)
    else:
        subscriber = Subscriber(settings.redis_address, settings.keyspace)
    try:
        async with asyncio.timeout(_SECONDS):
            await subscriber.connect()
            await subscriber.subscribe([stream])
            await subscriber.receive()
    except (BusUnavailable, TimeoutError) as error:
        command = "SSUBSCRIBE" if settings.keyspace.clustered else "SUBSCRIBE"
        channels = settings.keyspace.channel("*")
        message = f"{command} to the channels {channels} (@pubsub) fails: {error}"
        return wrong(_URL, message, code=ExitCode.REFUSED)
    finally:
        await subscriber.aclose()
    return None
