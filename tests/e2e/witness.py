"""Clients and a producer that keep count while a test disturbs a stack.

The witness is a program of its own, so that it can run next to local processes or in a cluster's
pod. It needs nothing but Clarion's image. It works in this order:

1. It prints ``ready`` when every client has been welcomed.
2. It publishes to the four audiences in turn until its standard input ends. After each attempt it
   prints how many events were accepted and how many were refused.
3. It waits until the last event has arrived everywhere, and prints a `Report` as one line of JSON.

The clients follow events as `clarion tail` does: they resume by themselves on any gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from clarion.client import Client, Open, Refresh, Status
from clarion_cli.token import SCOPES, Signer

PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 0.2
PROGRESS = "attempted"
TOKEN_SECONDS = 6 * 3_600


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of all events, summed over all clients.

    Attributes:
        published: events, each accepted once.
        expected: deliveries: events times the clients that each was for.
        lost: expected deliveries that never came, whether or not the client was told of a loss.
        doubled: delivered again.
        misplaced: delivered after a later one.
        foreign: delivered to a client that they were not for.
        told: times that a client received ``gap`` or ``resumed: false``.
        reconnects: connections after the first of each client.
        refused: attempts to publish that failed and were repeated.
        silence_seconds: the longest time from an event's publication to its last delivery.
        pods: that welcomed a client.
    """

    published: int
    expected: int
    lost: int
    doubled: int
    misplaced: int
    foreign: int
    told: int
    reconnects: int
    refused: int
    silence_seconds: float
    pods: Sequence[str]

    def nothing_lost(self) -> bool:
        """Whether each client got each of its events once, in order, and was told of no loss."""
        return not (self.lost or self.doubled or self.misplaced or self.foreign or self.told)


@dataclass
class Producer:
    """Publishes one event after the other until it is accepted, at the publishers in turn."""

    urls: Sequence[str]
    bearer: str
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    audiences: list[str] = field(default_factory=list)
    accepted_at: list[float] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.urls)

    async def publish(self, client: httpx.AsyncClient, audience: str) -> None:
        """Publish the next event, whose number is the count of those before."""
        number = len(self.audiences)
        kind, _, name = audience.partition(":")
        event = {
            "audience": {kind: name} if name else audience,
            "type": "witness",
            "data": {"run": self.run, "number": number},
            "key": f"{self.run}-{number}",
        }
        while not await self._accepted(client, next(self._turns), event):
            self.refused += 1
            self._tell()
            await asyncio.sleep(RETRY_SECONDS)
        self.audiences.append(audience)
        self.accepted_at.append(time.monotonic())
        self._tell()

    def _tell(self) -> None:
        print(PROGRESS, len(self.audiences), self.refused, flush=True)

    async def _accepted(self, client: httpx.AsyncClient, url: str, event: object) -> bool:
        try:
            response = await client.post(
                f"{url}/v1/events",
                json=event,
                headers={"Authorization": f"Bearer {self.bearer}"},
            )
        except httpx.HTTPError:
            return False
        if response.status_code in {401, 403, 404, 422}:
            raise SystemExit(f"cannot publish: {response.status_code} {response.text}")
        return response.is_success


@dataclass
class Listener:
    """One client; ``user`` None is anonymous, and hears no topics."""

    user: str | None
    run: str
    urls: Sequence[str]
    token: str | None = None
    topics: Sequence[str] = ()
    asked: Sequence[str] = ()
    numbers: list[int] = field(default_factory=list)
    heard_at: dict[int, float] = field(default_factory=dict)
    told: int = 0
    welcomes: list[str] = field(default_factory=list)
    connection: str | None = None
    welcomed: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> None:
        """Receive events, for ever."""
        client = Client(
            self.urls, get_token=lambda _: self.token, topics=self.asked, on_status=self._note
        )
        async with client:
            async for item in client:
                if isinstance(item, Refresh):
                    self.told += item.reason != "first"
                elif item.type == "witness" and item.data["run"] == self.run:
                    self.numbers.append(item.data["number"])
                    self.heard_at.setdefault(item.data["number"], time.monotonic())

    def _note(self, status: Status) -> None:
        if isinstance(status, Open) and status.connection != self.connection:
            self.connection = status.connection
            self.welcomes.append(status.pod)
            self.welcomed.set()

    def expects(self, audience: str) -> bool:
        """Whether an event for that audience is for this client."""
        if self.user is None:
            return audience == "all"
        mine = {"all", "authenticated", f"user:{self.user}"}
        return audience in mine or audience.removeprefix("topic:") in self.topics


def judge(client: Listener, audiences: Sequence[str]) -> Counter[str]:
    """Compare what one client should have received with what it did, by the names of `Report`."""
    expected = {number for number, audience in enumerate(audiences) if client.expects(audience)}
    times = Counter(client.numbers)
    return Counter(
        expected=len(expected),
        lost=len(expected - times.keys()),
        foreign=len(times.keys() - expected),
        doubled=sum(count - 1 for count in times.values()),
        misplaced=sum(later < earlier for earlier, later in itertools.pairwise(client.numbers)),
        told=client.told,
        reconnects=len(client.welcomes) - 1,
    )


def report(clients: Sequence[Listener], producer: Producer) -> Report:
    """The sum over all clients."""
    total = Counter[str]()
    for client in clients:
        total.update(judge(client, producer.audiences))
    delays = [
        heard_at - producer.accepted_at[number]
        for client in clients
        for number, heard_at in client.heard_at.items()
        if number < len(producer.accepted_at)
    ]
    names = ("expected", "lost", "doubled", "misplaced", "foreign", "told", "reconnects")
    return Report(
        published=len(producer.audiences),
        **{name: total[name] for name in names},
        refused=producer.refused,
        silence_seconds=round(max(delays, default=0.0), 3),
        pods=sorted({pod for client in clients for pod in client.welcomes}),
    )


async def witness(
    gateways: Sequence[str],
    publishers: Sequence[str],
    signer: Signer,
    *,
    clients: int,
    rate: float,
    patience: float,
    topics: bool,
) -> Report:
    """Publish and listen until standard input ends; then wait at most ``patience`` seconds."""
    scope = " ".join(SCOPES)
    producer = Producer(
        publishers, signer.sign("witness", scope=scope, expires_seconds=TOKEN_SECONDS)
    )
    listeners = [
        _client(index, gateways, signer, producer.run, topics=topics) for index in range(clients)
    ]
    users = sorted({client.user for client in listeners if client.user is not None})
    async with asyncio.TaskGroup() as group:
        following = [group.create_task(client.follow()) for client in listeners]
        for client in listeners:
            await client.welcomed.wait()
        print("ready", flush=True)
        stopped = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        names = sorted({topic for client in listeners for topic in client.topics})
        named = [f"user:{user}" for user in users] + [f"topic:{name}" for name in names]
        audiences = itertools.cycle(["all", "authenticated", *named])
        async with httpx.AsyncClient(timeout=5) as client:
            while not stopped.done():
                await producer.publish(client, next(audiences))
                await asyncio.wait([stopped], timeout=1 / rate)
        await _until_the_last(listeners, producer, patience)
        for task in following:
            task.cancel()
    return report(listeners, producer)


def _client(
    index: int, gateways: Sequence[str], signer: Signer, run: str, *, topics: bool
) -> Listener:
    """Make a client. A third are anonymous; of the others, two share a user, on any pods.

    Every user hears a topic that the token lists, and asks for one that every second user has.
    """
    turned = [*gateways[index % len(gateways) :], *gateways[: index % len(gateways)]]
    if index % 3 == 0:
        return Listener(None, run, turned)
    user = f"witness-{index // 3}"
    if not topics:
        return Listener(user, run, turned, signer.sign(user, expires_seconds=TOKEN_SECONDS))
    listed, asked = f"{run}.news", f"{run}.room.{index // 3 % 2}"
    token = signer.sign(
        user, expires_seconds=TOKEN_SECONDS, topics=[listed], subscribe=[f"{run}.room.*"]
    )
    return Listener(user, run, turned, token, (listed, asked), (asked,))


async def _until_the_last(clients: Sequence[Listener], producer: Producer, patience: float) -> None:
    """Return when nothing is missing any more, or when nothing more will come."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if not any(judge(client, producer.audiences)["lost"] for client in clients):
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.5)  # for what comes twice


def main(arguments: Sequence[str] | None = None) -> None:
    """``python witness.py --gateway URL --publisher URL``, with ``CLARION_JWT_SECRET``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateway", action="append", required=True)
    parser.add_argument("--publisher", action="append", required=True)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--rate", type=float, default=20, help="events per second")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE_SECONDS, help="for the last event"
    )
    parser.add_argument("--no-topics", action="store_true", help="for services that know none")
    options: Any = parser.parse_args(arguments)
    found = asyncio.run(
        witness(
            options.gateway,
            options.publisher,
            Signer(os.environ["CLARION_JWT_SECRET"]),
            clients=options.clients,
            rate=options.rate,
            patience=options.patience,
            topics=not options.no_topics,
        )
    )
    print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    main()
