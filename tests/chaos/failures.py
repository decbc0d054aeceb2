"""The failures of a scenario: one function for each kind, drawn by a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tests.chaos.clients import Client
from tests.chaos.moments import now_us
from tests.chaos.revoking import Order
from tests.chaos.world import World

Failure = Callable[[World, Sequence[Client], random.Random], Coroutine[Any, Any, None]]


async def redis_paused(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """It answers nothing and closes nothing (SIGSTOP)."""
    await world.pause_redis(dice.uniform(0.3, 4))


async def redis_restarted(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Killed, and back with its data."""
    await world.restart_redis(dice.uniform(0, 1))


async def redis_emptied(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Killed, and back without its data: the only failure that may cost clients events."""
    await world.restart_redis(dice.uniform(0, 1), empty=True)


async def subscriptions_killed(world: World, _: Sequence[Client], __: random.Random) -> None:
    """As Redis itself does to subscribers that read too slowly."""
    await world.ask_redis("CLIENT", "KILL", "TYPE", "pubsub")


async def commands_killed(world: World, _: Sequence[Client], __: random.Random) -> None:
    """Every connection but the subscriptions: publishes lose their answers."""
    await world.ask_redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def scripts_flushed(world: World, _: Sequence[Client], __: random.Random) -> None:
    """Redis no longer knows the scripts."""
    await world.ask_redis("SCRIPT", "FLUSH")


async def links_cut_midway(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Connections to Redis end in the middle of what Redis was sending."""
    for proxy in world.proxies:
        for link in proxy.links:
            if dice.random() < 0.5:
                link.cut_after = dice.randint(1, 200)
    await asyncio.sleep(0.5)


async def subscriptions_silenced(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Nothing comes in by them any more, and nobody says so."""
    for proxy in world.proxies:
        if dice.random() < 0.6:
            proxy.silence_subscriptions()
    await asyncio.sleep(0.5)


async def gateway_killed(world: World, _: Sequence[Client], __: random.Random) -> None:
    """SIGKILL; another one comes in its place."""
    await world.replace_gateway(killed=True)


async def gateway_rolled(world: World, _: Sequence[Client], __: random.Random) -> None:
    """Another one comes, then SIGTERM: it drains."""
    await world.replace_gateway(killed=False)


async def publisher_killed(world: World, _: Sequence[Client], __: random.Random) -> None:
    """SIGKILL, with requests under way; another one comes in its place."""
    await world.kill_publisher()


async def clients_cut(_: World, clients: Sequence[Client], dice: random.Random) -> None:
    """The network of many clients breaks at once."""
    for client in clients:
        if dice.random() < 0.4:
            client.cut()


async def token_revoked(world: World, clients: Sequence[Client], dice: random.Random) -> None:
    """One client's; it comes back with a fresh one."""
    tokens = [client.token for client in clients if client.token is not None]
    token = dice.choice(tokens)
    await world.give(Order(token.user, token_id=token.id), dice)


async def tokens_revoked(world: World, clients: Sequence[Client], dice: random.Random) -> None:
    """All that a user has until now."""
    await world.give(Order(_user(clients, dice), issued_before_us=now_us()), dice)


async def user_disconnected(world: World, clients: Sequence[Client], dice: random.Random) -> None:
    """All of a user's connections are closed; they may come back."""
    await world.give(Order(_user(clients, dice), disconnects=True), dice)


async def primary_killed(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """A replica takes its place; it comes back as one."""
    await world.fail_over(dice.uniform(0, 1), hangs=False)


async def primary_of_cluster_killed(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Its replica takes its place; it comes back as one."""
    await world.fail_over_in_cluster(dice.uniform(0, 1), dice.randrange(3))


async def primary_hung(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """A replica takes its place; it wakes up and believes for a while to be what it was."""
    await world.fail_over(dice.uniform(0, 1), hangs=True)


async def replica_killed(world: World, _: Sequence[Client], dice: random.Random) -> None:
    """Too few to confirm anything, until it is back."""
    await world.lose_replica(dice.uniform(0, 2))


def _user(clients: Sequence[Client], dice: random.Random) -> str:
    return dice.choice([client.user for client in clients if client.user is not None])


_ANYWHERE: Sequence[Failure] = (
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
)

HARMLESS: Sequence[Failure] = (
    *_ANYWHERE,
    redis_paused,
    redis_restarted,
    links_cut_midway,
    subscriptions_silenced,
)
"""With one Redis that keeps its data. No event may be lost by any of these."""

CLUSTER_FAILOVERS: Sequence[Failure] = (*_ANYWHERE, primary_of_cluster_killed)
"""On a cluster. Nothing that was accepted may be lost by any of these."""

FAILOVERS: Sequence[Failure] = (*_ANYWHERE, primary_killed, primary_hung, replica_killed)
"""With Sentinels. Nothing that was accepted may be lost by any of these."""
