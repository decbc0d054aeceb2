"""What goes wrong, and how: one function for each failure, drawn by a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tests.chaos.clients import Client
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


HARMLESS: Sequence[Failure] = (
    redis_paused,
    redis_restarted,
    subscriptions_killed,
    commands_killed,
    scripts_flushed,
    links_cut_midway,
    subscriptions_silenced,
    gateway_killed,
    gateway_rolled,
    publisher_killed,
    clients_cut,
)
"""No event may be lost by any of these."""
