"""Producers that follow docs/publishing.md: a key for each event, the same bytes until a 201."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.chaos.ledger import TOPIC, Entry, Ledger
from tests.chaos.moments import now_us
from tests.chaos.revoking import GIFTS, ROOMS, TEAMS, Order

_ANSWER_SECONDS = 8.0
_RETRY_SECONDS = (0.02, 0.3)
_RETRIED = {408, 500, 502, 503, 504}
_BATCH_SHARE = 0.2
_BATCH_MOST = 8
_PADDED_SHARE = 0.15
_PADDING_MOST_BYTES = 12_000
_LARGE_SHARE = 0.02
_LARGEST_BYTES = 64_000  # the publisher takes data of 65,536 bytes


@dataclass
class Producer:
    """Publishes one request after the other.

    Attributes:
        address: the publisher to which a load balancer would send a request now.
    """

    ledger: Ledger
    users: Sequence[str]
    address: Callable[[], str]
    token: str
    dice: random.Random

    async def run(self, pause_seconds: float, until: asyncio.Event) -> None:
        """Publish until told to stop; finish events that were begun."""
        async with _client(self.token) as client:
            while not until.is_set():
                many = self.dice.random() < _BATCH_SHARE
                count = self.dice.randint(2, _BATCH_MOST) if many else 1
                await self._publish(client, [self._entry() for _ in range(count)])
                await asyncio.sleep(self.dice.uniform(0, 2 * pause_seconds))

    async def publish(self, entry: Entry) -> None:
        """Publish one event, with as many attempts as it takes."""
        async with _client(self.token) as client:
            await self._publish(client, [entry])

    def _entry(self) -> Entry:
        topics = [TOPIC + self.dice.choice(names) for names in (ROOMS, ROOMS, TEAMS, GIFTS)]
        user = self.dice.choice(self.users)
        audience = self.dice.choice(["all", "all", "authenticated", user, user, *topics])
        drawn = self.dice.random()
        if drawn < _LARGE_SHARE:
            return self.ledger.new(audience, _LARGEST_BYTES)
        padded = drawn < _PADDED_SHARE
        return self.ledger.new(audience, self.dice.randint(0, _PADDING_MOST_BYTES * padded))

    async def _publish(self, client: httpx.AsyncClient, entries: list[Entry]) -> None:
        while entries:
            entries = await self._attempt(client, entries)
            if entries:
                await asyncio.sleep(self.dice.uniform(*_RETRY_SECONDS))

    async def _attempt(self, client: httpx.AsyncClient, entries: list[Entry]) -> list[Entry]:
        """Send events; return those that must be sent again."""
        for entry in entries:
            self.ledger.sent(entry)
        single = len(entries) == 1
        path = "/v1/events" if single else "/v1/events:batch"
        body: Any = entries[0].json if single else {"events": [entry.json for entry in entries]}
        try:
            response = await client.post(self.address() + path, json=body)
        except httpx.TransportError:
            return entries
        if response.status_code in _RETRIED:
            return entries
        assert response.is_success, response.text
        answer = response.json()
        results = [{"status": response.status_code, **answer}] if single else answer["results"]
        again = []
        for entry, result in zip(entries, results, strict=True):
            if result["status"] in {200, 201}:
                self.ledger.accepted(entry, int(result["id"]), duplicate=result["duplicate"])
            else:
                assert result["status"] in _RETRIED, result
                again.append(entry)
        return again


async def give_topics(
    user: str,
    change: dict[str, list[str]],
    address: Callable[[], str],
    token: str,
    dice: random.Random,
) -> None:
    """Give topics to a user's connections, or take them away, until it is confirmed."""
    async with _client(token) as client:
        while True:
            try:
                response = await client.post(f"{address()}/v1/users/{user}/topics", json=change)
            except httpx.TransportError:
                pass
            else:
                assert response.is_success or response.status_code in _RETRIED, response.text
                if response.is_success:
                    return
            await asyncio.sleep(dice.uniform(*_RETRY_SECONDS))


async def give(order: Order, address: Callable[[], str], token: str, dice: random.Random) -> None:
    """Give one order until it is confirmed."""
    async with _client(token) as client:
        while order.confirmed_us is None:
            try:
                response = await client.post(address() + order.path, json=order.body)
            except httpx.TransportError:
                pass
            else:
                assert response.is_success or response.status_code in _RETRIED, response.text
                if response.is_success:
                    order.confirmed_us = now_us()
                    return
            await asyncio.sleep(dice.uniform(*_RETRY_SECONDS))


def _client(token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS, headers=headers)
