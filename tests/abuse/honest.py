"""Honest clients and producers beside the hostile ones: they are to notice nothing.

Those of the chaos tests, with tokens of the issuer; they note whatever is not as it should be.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from tests.abuse.issuer import IssuedToken
from tests.abuse.pods import Pods
from tests.abuse.socketio import ByPolls, BySocket
from tests.chaos.clients import Client, SocketClient, StreamClient
from tests.chaos.ledger import Entry, Ledger
from tests.chaos.oracle import Verdict, judge
from tests.chaos.producers import Producer
from tests.chaos.revoking import Token

_USERS = ("alice", "bob", "carol")
_STEADY = 3  # of each sort
_COMERS = 3
_PRODUCERS = 2
_PAUSE_SECONDS = 0.05
_WELCOME_SECONDS = 60.0
_SETTLE_SECONDS = 60.0
# How slow an answer may be is not judged here, so long as it comes.
_ANSWER_SECONDS = 60.0


class _Issued(Client):
    """Its tokens are the issuer's."""

    def _dial(self) -> Token | None:
        if self.user is not None and self.token is None:
            self.token = IssuedToken(self.user)
        return super()._dial()


class Socket(_Issued, SocketClient):
    """A WebSocket."""


class Stream(_Issued, StreamClient):
    """An event stream."""


class SocketIo(_Issued, BySocket):
    """A client of Socket.IO."""


class Polls(_Issued, ByPolls):
    """A client of Socket.IO that polls."""


class Shop(Producer):
    """A producer that waits as long as it takes."""

    async def run(self, pause_seconds: float, until: asyncio.Event) -> None:
        async with self._http() as client:
            while not until.is_set():
                count = self.dice.choice([1, 1, 1, 5])
                await self._publish(client, [self._entry() for _ in range(count)])
                await asyncio.sleep(self.dice.uniform(0, 2 * pause_seconds))

    async def publish(self, entry: Entry) -> None:
        async with self._http() as client:
            await self._publish(client, [entry])

    def _http(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS, headers=headers)


@dataclass
class Honest:
    """All of them, for the length of one attack."""

    pods: Pods
    ledger: Ledger
    dice: random.Random
    comers: bool
    noticed: list[str] = field(default_factory=list)
    _calm: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._first = len(self.ledger.entries)
        self.steady: list[Client] = []
        for number in range(_STEADY):
            user = _USERS[number % len(_USERS)]
            self.steady += [
                self._socket(f"socket {number}", None),
                self._socket(f"socket {number} of {user}", user),
                self._stream(f"stream {number}", None),
                self._stream(f"stream {number} of {user}", user),
                self._socketio(SocketIo, f"Socket.IO {number} of {user}", user),
                self._socketio(Polls, f"polls {number} of {user}", user),
            ]
        self.coming = [
            self._socket(f"comer {number}", _USERS[number], flees=True)
            for number in range(_COMERS if self.comers else 0)
        ]
        token = self.pods.service_token("shop")
        self.shops = [
            Shop(self.ledger, _USERS, self._publisher, token, self._own())
            for _ in range(_PRODUCERS)
        ]

    @property
    def clients(self) -> list[Client]:
        return [*self.steady, *self.coming]

    async def during(self, attack: Callable[[], Awaitable[None]]) -> Verdict:
        """Listen and publish from before an attack until after it; then say what was noticed.

        Args:
            attack: called once all are welcome.
        """
        async with asyncio.TaskGroup() as group:  # a client that breaks ends it all
            listening = [group.create_task(client.run()) for client in self.clients]
            async with asyncio.timeout(_WELCOME_SECONDS):
                while not all(client.sessions for client in self.clients):
                    await asyncio.sleep(0.02)
            shopping = [
                group.create_task(shop.run(_PAUSE_SECONDS, self._stop)) for shop in self.shops
            ]
            await attack()
            self._calm.set()
            self._stop.set()
            await asyncio.gather(*shopping)
            await self._settle()
            for task in listening:
                task.cancel()
        return self._judged()

    async def _settle(self) -> None:
        """Every client hears the last event."""
        end = self.ledger.new("all")
        await self.shops[0].publish(end)
        assert end.id is not None
        missing = self.clients
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                while missing := [each for each in missing if (each.position or 0) < end.id]:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            names = ", ".join(client.name for client in missing)
            self.noticed.append(f"did not hear the last event: {names}")

    def _judged(self) -> Verdict:
        for client in self.clients:
            if client.turned_away:
                self.noticed.append(f"{client.name} was turned away {client.turned_away} times")
        for client in self.steady:
            ends = [session.end for session in client.sessions if session.end]
            if ends:
                self.noticed.append(f"{client.name} lost its connection: {', '.join(ends)}")
        again = sum(entry.attempts > 1 for entry in self.ledger.entries[self._first :])
        if again:
            self.noticed.append(f"{again} events had to be published again")
        return judge(self.ledger, {client.name: client.sessions for client in self.clients})

    def _socket(self, name: str, user: str | None, *, flees: bool = False) -> Socket:
        return Socket(name, user, self._gateway, self.ledger, self._own(), self._calm, flees=flees)

    def _stream(self, name: str, user: str | None) -> Stream:
        return Stream(name, user, self._gateway, self.ledger, self._own(), self._calm)

    def _socketio(self, kind: type[SocketIo | Polls], name: str, user: str) -> Client:
        return kind(name, user, self._gateway, self.ledger, self._own(), self._calm)

    def _own(self) -> random.Random:
        return random.Random(self.dice.random())

    def _gateway(self) -> str:
        return self.pods.gateway.url

    def _publisher(self) -> str:
        return self.pods.publisher.url
