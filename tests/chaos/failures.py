"""The failures of a scenario: one function for each kind, drawn by a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import urlsplit

from tests.chaos.clients import BreakableClient, Client
from tests.chaos.moments import now_us
from tests.chaos.revoking import GIFTS, ROOMS, Order
from tests.chaos.world import World
from tests.integration.sockets import TEXT, frame, request_of

_HOSTILE_EACH = 5
_HOSTILE_SECONDS = 10.0

Failure = Callable[[World, Sequence[BreakableClient], random.Random], Coroutine[Any, Any, None]]


async def redis_paused(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Redis answers nothing and closes nothing (SIGSTOP)."""
    await world.pause_redis(dice.uniform(0.3, 4))


async def redis_restarted(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Redis is killed and comes back with its data."""
    await world.restart_redis(dice.uniform(0, 1))


async def redis_emptied(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Redis comes back without its data. Only this failure may cost clients events."""
    await world.restart_redis(dice.uniform(0, 1), empty=True)


async def subscriptions_killed(world: World, _: Sequence[Client], __: random.Random) -> None:
    """Subscriptions are cut, as Redis does to subscribers that read too slowly."""
    await world.ask_redis("CLIENT", "KILL", "TYPE", "pubsub")


async def commands_killed(world: World, _: Sequence[Client], __: random.Random) -> None:
    """Every connection except subscriptions is cut: publishes lose their answers."""
    await world.ask_redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def scripts_flushed(world: World, _: Sequence[Client], __: random.Random) -> None:
    """Redis forgets the scripts."""
    await world.ask_redis("SCRIPT", "FLUSH")


async def links_cut_midway(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Connections to Redis end in the middle of what Redis is sending."""
    for proxy in world.proxies:
        for link in proxy.links:
            if dice.random() < 0.5:
                link.cut_after = dice.randint(1, 200)
    await asyncio.sleep(0.5)


async def subscriptions_silenced(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Subscriptions receive nothing any more, without any error."""
    world.ledger.silenced()
    for proxy in world.proxies:
        if dice.random() < 0.6:
            proxy.silence_subscriptions()
    await asyncio.sleep(0.5)


async def gateway_killed(world: World, _: Sequence[Client], __: random.Random) -> None:
    """A gateway gets SIGKILL; another one replaces it."""
    await world.replace_gateway(killed=True)


async def gateway_rolled(world: World, _: Sequence[Client], __: random.Random) -> None:
    """Another gateway starts, then an old one gets SIGTERM and drains."""
    await world.replace_gateway(killed=False)


async def publisher_killed(world: World, _: Sequence[Client], __: random.Random) -> None:
    """A publisher gets SIGKILL in the middle of requests; another one replaces it."""
    await world.kill_publisher()


async def clients_cut(_: World, clients: Sequence[BreakableClient], dice: random.Random) -> None:
    """The network connections of many clients break at once."""
    for client in clients:
        if dice.random() < 0.4:
            client.cut()


async def hostile_bytes(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Strangers send every pod what no client sends: noise, halves of requests, broken frames."""
    pods = [*world.gateways, *world.publishers]
    sending = (_send_hostile(pod.url, dice) for pod in pods for _ in range(_HOSTILE_EACH))
    await asyncio.gather(*sending)


async def _send_hostile(url: str, dice: random.Random) -> None:
    """One connection, which is dropped in the middle."""
    noise = dice.randbytes(dice.randrange(1, 70_000))
    beginning = dice.choice((b"", request_of(), b"POST /v1/events HTTP/1.1\r\n", frame(TEXT)))
    address = urlsplit(url)
    try:
        async with asyncio.timeout(_HOSTILE_SECONDS):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(beginning + noise)
            await writer.drain()
            writer.transport.abort()
    except (OSError, TimeoutError):  # the pod is gone, or has had enough
        return


async def token_revoked(world: World, clients: Sequence[Client], dice: random.Random) -> None:
    """A client's token is revoked; the client returns with a fresh one."""
    tokens = [client.token for client in clients if client.token is not None]
    token = dice.choice(tokens)
    await world.give(Order(token.user, token_id=token.id), dice)


async def tokens_revoked(world: World, clients: Sequence[Client], dice: random.Random) -> None:
    """All tokens that a user has so far are revoked."""
    await world.give(Order(_user(clients, dice), issued_before_us=now_us()), dice)


async def user_disconnected(world: World, clients: Sequence[Client], dice: random.Random) -> None:
    """All connections of a user are closed; the user's clients may return."""
    await world.give(Order(_user(clients, dice), disconnects=True), dice)


async def topics_given(world: World, clients: Sequence[Client], dice: random.Random) -> None:
    """A service gives a topic to a user's open connections, and takes others away."""
    change = {"add": [dice.choice(GIFTS)], "remove": dice.sample(ROOMS, 2)}
    await world.give_topics(_user(clients, dice), change, dice)


async def topics_taken(world: World, clients: Sequence[Client], dice: random.Random) -> None:
    """A service takes from a user's connections what it may have given."""
    change = {"add": [dice.choice(ROOMS)], "remove": GIFTS}
    await world.give_topics(_user(clients, dice), change, dice)


async def primary_killed(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """The primary is killed, a replica replaces it, and the old one returns as a replica."""
    await world.fail_over(dice.uniform(0, 1), hangs=False)


async def primary_of_cluster_killed(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """A primary is killed, its replica replaces it, and the old one returns as a replica."""
    await world.fail_over_in_cluster(dice.uniform(0, 1), dice.randrange(3))


async def primary_hung(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """The primary hangs and is replaced. When it wakes up, it still acts as primary for a while."""
    await world.fail_over(dice.uniform(0, 1), hangs=True)


async def replica_killed(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """A replica is killed: until it returns, too few replicas confirm anything."""
    await world.lose_replica(dice.uniform(0, 2))


def _user(clients: Sequence[Client], dice: random.Random) -> str:
    return dice.choice([client.user for client in clients if client.user is not None])


_ANYWHERE: Sequence[Failure] = (
    hostile_bytes,
    subscriptions_killed,
    commands_killed,
    scripts_flushed,
    gateway_killed,
    gateway_rolled,
    publisher_killed,
    clients_cut,
    token_revoked,
    tokens_revoked,
    user_disconnected,
    topics_given,
    topics_taken,
)

HARMLESS: Sequence[Failure] = (
    *_ANYWHERE,
    redis_paused,
    redis_restarted,
    links_cut_midway,
    subscriptions_silenced,
)
"""Failures with one Redis that keeps its data. None of them may lose an event."""

CLUSTER_FAILOVERS: Sequence[Failure] = (*_ANYWHERE, primary_of_cluster_killed)
"""On a cluster. Nothing that was accepted may be lost by any of these."""

FAILOVERS: Sequence[Failure] = (*_ANYWHERE, primary_killed, primary_hung, replica_killed)
"""Failures with Sentinels. None of them may lose an accepted event."""
