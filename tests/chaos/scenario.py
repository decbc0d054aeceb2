"""One scenario: a world, producers, clients, and failures drawn by a seed; then calm and judgement.

A seed fixes what is drawn: settings, clients and their habits, events, failures and their order. It
cannot fix how processes and the kernel interleave, so a seed that failed may pass the next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from pprint import pformat

from tests.chaos.clients import BreakableClient, Client, SocketClient, StreamClient
from tests.chaos.cluster_oracle import judge_cluster
from tests.chaos.failures import (
    CLUSTER_FAILOVERS,
    FAILOVERS,
    HARMLESS,
    Failure,
    primary_killed,
    primary_of_cluster_killed,
    redis_emptied,
    token_revoked,
)
from tests.chaos.ledger import TOPIC, Entry, Ledger
from tests.chaos.oracle import Verdict, judge, judge_logs, judge_refusals
from tests.chaos.producers import Producer
from tests.chaos.revoking import GIFTS, ROOMS, TEAMS
from tests.chaos.session import Event, Topics
from tests.chaos.storage import Clustered, Failover, SingleServer
from tests.chaos.world import OVERLAP_SECONDS, World

_SETTLE_SECONDS = 60.0
_BETWEEN_FAILURES_SECONDS = (0.1, 1.2)
_AT_ONCE = 3
_FAULTS_SHOWN = 12

# Drawn for each pod that starts: what should make no difference to anybody.
_VARIED = {
    "GATEWAY_REPLAY_MAX_BYTES": ("0", "20000", "67108864"),
    "GATEWAY_PENDING_MAX_EVENTS": ("100", "10000"),
    "GATEWAY_TOPIC_REPLAY_MAX_BYTES": ("1048576", "33554432"),
    "GATEWAY_COMPRESSION": ("false", "true"),
}


class Kind(Enum):
    """A kind of Redis, with the failures that only this kind has."""

    DATA_KEPT = "data kept"
    DATA_LOST = "data lost"
    FAILOVER = "failover"
    CLUSTER = "cluster"


# The failures that each kind must see, and further ones that it draws from.
_SURELY: dict[Kind, list[Failure]] = {
    Kind.DATA_KEPT: [],
    Kind.DATA_LOST: [redis_emptied],
    Kind.FAILOVER: [primary_killed],
    Kind.CLUSTER: [token_revoked, primary_of_cluster_killed],
}
_STORAGES = {
    Kind.DATA_KEPT: SingleServer,
    Kind.DATA_LOST: SingleServer,
    Kind.FAILOVER: Failover,
    Kind.CLUSTER: Clustered,
}
_PERHAPS = {
    Kind.DATA_KEPT: HARMLESS,
    Kind.DATA_LOST: [*HARMLESS, redis_emptied],
    Kind.FAILOVER: FAILOVERS,
    Kind.CLUSTER: CLUSTER_FAILOVERS,
}


@dataclass(frozen=True)
class Scale:
    """How much of everything, and for how long.

    Attributes:
        failures: the least number of failures, however long they take.
    """

    seconds: float
    failures: int = 0
    clients: int = 40
    gateways: int = 2
    publishers: int = 2
    producers: int = 4
    events_per_second: float = 40.0


@dataclass
class Report:
    """The events of a scenario, and the oracle's verdict."""

    seed: int
    kind: Kind
    scale: Scale
    verdict: Verdict
    ledger: Ledger
    failures: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    topics: int = 0
    topic_changes: int = 0
    settled_seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return not self.verdict.faults

    def __str__(self) -> str:
        verdict, entries = self.verdict, self.ledger.entries
        attempts = sum(entry.attempts for entry in entries)
        said = sum(entry.sender is not None for entry in entries)
        text = (
            f"seed {self.seed}, {self.kind.value}: {len(entries):,} events sent, {verdict.delivered:,} of "
            f"{verdict.due:,} deliveries made, {verdict.count('lost')} lost, "
            f"{verdict.count('doubled')} doubled\n"
            f"  {attempts - len(entries)} sent again, {self.ledger.duplicates} of them were known; "
            f"{said} said by clients; {len(self.ledger.orders)} orders; "
            f"{len(self.ledger.failovers_us)} failovers; "
            f"{len(self.ledger.wipes_us)} times Redis lost all: {verdict.excused:,} deliveries "
            f"gone and told, by {verdict.gaps} gaps; {verdict.anew} resumed false\n"
            f"  {sum(entry.topic is not None for entry in entries)} events to topics; "
            f"{self.topics} topics from a welcome on, "
            f"{verdict.not_resumed} not resumed; {self.topic_changes} changes of topics\n"
            f"  failures: {_counts(self.failures)}\n"
            f"  connections ended: {_counts(self.ends)}; "
            f"all caught up {self.settled_seconds:.1f} s after the last failure"
        )
        lines = [text]
        for kind, faults in verdict.faults.items():
            lines.append(f"  {kind.upper()}: {len(faults)}")
            lines += [f"    {fault}" for fault in faults[:_FAULTS_SHOWN]]
        return "\n".join(lines)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common()) or "none"


async def run(
    seed: int,
    scale: Scale,
    folder: Path,
    kind: Kind = Kind.DATA_KEPT,
    *,
    announce: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run one scenario to its end, and judge it.

    Args:
        folder: empty, for logs and data.
        announce: called with each failure when it begins.
    """
    dice = random.Random(seed)
    ledger = Ledger()
    storage = _STORAGES[kind](folder / "redis", ledger)
    clustered = kind is Kind.CLUSTER
    ledger.overlap_us = round(OVERLAP_SECONDS * 1e6) if clustered else 0
    world = World(folder, storage, ledger, random.Random(dice.random()), _VARIED)
    calm, stop = asyncio.Event(), asyncio.Event()
    clients = _clients(world, scale, dice, calm)
    producers = _producers(world, scale, dice)
    report = Report(seed, kind, scale, Verdict(), ledger)
    async with world.running(gateways=scale.gateways, publishers=scale.publishers):
        async with asyncio.TaskGroup() as group:
            listening = [group.create_task(client.run()) for client in clients]
            pause_seconds = scale.producers / scale.events_per_second
            producing = [group.create_task(p.run(pause_seconds, stop)) for p in producers]
            await _fail(world, clients, scale, dice, report, announce, kind)
            calm.set()
            stop.set()
            await asyncio.wait(producing)
            began = time.monotonic()
            ends = [ledger.new(to) for to in (_all_streams(scale) if clustered else ["all"])]
            topics = {client.name: _topics(client) for client in clients}
            for end in ends:
                await producers[0].publish(end)
            missing = await _settle(clients, ends, topics)
            report.settled_seconds = time.monotonic() - began
            for task in listening:
                task.cancel()
        logged = await world.logged()
        ledger.locate(logged)
        sessions = {client.name: client.sessions for client in clients}
        report.verdict = judge_cluster(ledger, sessions) if clustered else judge(ledger, sessions)
        judge_logs(report.verdict, ledger, logged)
        refused = [token for client in clients for token in client.refused]
        judge_refusals(report.verdict, ledger, refused)
    for client in missing:
        ids = [end.id for end in ends]
        report.verdict.add("stuck", f"{client.name} stands at {client.position}, ends are {ids}")
    for line in world.logs():
        report.verdict.add("in a log", line)
    if not report.clean:
        heard = [f"{client.name}\n{pformat(client.sessions)}" for client in clients]
        (folder / "heard.txt").write_text("\n".join(heard))
    every = [session for client in clients for session in client.sessions]
    report.topics = sum(len(session.topics) for session in every)
    report.topic_changes = sum(
        isinstance(heard, Topics) for session in every for heard in session.heard
    )
    ends = [session.end for client in clients for session in client.sessions]
    report.ends.update(end for end in ends if end)
    return report


async def _fail(
    world: World,
    clients: Sequence[BreakableClient],
    scale: Scale,
    dice: random.Random,
    report: Report,
    announce: Callable[[str], None],
    kind: Kind,
) -> None:
    """Cause a few failures at a time, until there were enough and all have passed."""
    choices: Sequence[Failure] = _PERHAPS[kind]
    pack: list[Failure] = list(_SURELY[kind])
    began = time.monotonic()
    slots = asyncio.Semaphore(_AT_ONCE)

    async def happen(failure: Failure) -> None:
        chance = random.Random(dice.random())
        report.failures[failure.__name__] += 1
        announce(f"{time.monotonic() - began:6.1f} s  {failure.__name__}")
        try:
            await failure(world, clients, chance)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        while time.monotonic() - began < scale.seconds or report.failures.total() < scale.failures:
            await asyncio.sleep(dice.uniform(*_BETWEEN_FAILURES_SECONDS))
            await slots.acquire()
            if not pack:  # each once, then all again: a short scenario should see most of them
                pack = dice.sample(choices, len(choices))
            group.create_task(happen(pack.pop()))


def _topics(client: Client) -> frozenset[str]:
    """The topics that a client receives now."""
    return client.sessions[-1].last_topics if client.sessions else frozenset()


async def _settle(
    clients: Sequence[Client], ends: Sequence[Entry], topics: Mapping[str, frozenset[str]]
) -> list[Client]:
    """Wait until every client has received the last events; return those that have not.

    Args:
        topics: those that each client received before the last events. It may have asked for
            another one, and be answered only now.
    """
    missing = list(clients)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SETTLE_SECONDS):
            while missing := [client for client in missing if not _is_at_end(client, ends, topics)]:
                await asyncio.sleep(0.05)
    return missing


def _is_at_end(client: Client, ends: Sequence[Entry], topics: Mapping[str, frozenset[str]]) -> bool:
    """Whether the client has all the last events that it is due, or a position after them."""
    if not client.sessions:
        return False
    session = client.sessions[-1]
    if len(ends) == 1:
        return (client.position or 0) >= (ends[0].id or 0)
    due = {end.number for end in ends if end.audience == "all"}
    if not any(each.changed for each in client.sessions):
        due |= {end.number for end in ends if end.audience == session.user}
        due |= {end.number for end in ends if end.topic in topics[client.name] & _topics(client)}
    return due <= {
        heard.number for each in client.sessions for heard in each.heard if isinstance(heard, Event)
    }


def _clients(
    world: World, scale: Scale, dice: random.Random, calm: asyncio.Event
) -> list[BreakableClient]:
    """Make clients: a third anonymous, several connections per user, and all habits."""
    users = _users(scale)
    clients: list[BreakableClient] = []
    for number in range(scale.clients):
        user = dice.choice([None, *users[: len(users) // 2], *users])
        own = random.Random(dice.random())
        habit = dice.choice(
            [
                "stream",
                "stream",
                "steady",
                "slow",
                "commuter",
                "commuter",
                "fleeing",
                "talker",
                "talker",
                "roamer",
                "roamer",
                "roamer",
            ]
        )
        name = f"client {number} ({habit}, {user})"
        if habit == "stream":
            clients.append(
                StreamClient(name, user, world.gateway, world.ledger, own, calm, roams=True)
            )
            continue
        if habit == "roamer":
            user = user or dice.choice(users)
        clients.append(
            SocketClient(
                name,
                None if habit == "commuter" else user,
                world.gateway,
                world.ledger,
                own,
                calm,
                roams=habit in {"roamer", "fleeing"},
                slow=habit == "slow",
                commutes=dice.choice(users) if habit == "commuter" else None,
                flees=habit == "fleeing",
                talks=habit == "talker",
            )
        )
    return clients


def _all_streams(scale: Scale) -> list[str]:
    return ["all", *_users(scale), *(TOPIC + topic for topic in (*ROOMS, *TEAMS, *GIFTS))]


def _users(scale: Scale) -> list[str]:
    return [f"user-{number}" for number in range(max(2, scale.clients // 4))]


def _producers(world: World, scale: Scale, dice: random.Random) -> list[Producer]:
    token = world.producer_token()
    return [
        Producer(world.ledger, _users(scale), world.publisher, token, random.Random(dice.random()))
        for _ in range(scale.producers)
    ]
