"""Shares out what a pod has too little of, so that no client takes it from all others.

`clarion_gateway.delivery.replay_room` shares out reads of Redis and memory this way, and
`clarion_gateway.clients.memberships` the subscriptions that Redis has not confirmed yet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

# The share that the connections of one user may take, that anonymous ones from one address may
# take, and that all anonymous ones together may take. The rest is for others.
_ONE_SHARE: Final = 1 / 4
_ANONYMOUS_SHARE: Final = 3 / 4


class Busy(Exception):
    """Others take so much that no part became free in time."""


@dataclass(frozen=True, slots=True)
class Party:
    """On whose behalf a client asks for a part, as it was then.

    Attributes:
        user: None: nobody's.
        address: where the client is; None: not known. It counts for anonymous clients alone, since
            many users may share one.
    """

    user: str | None
    address: str | None = None

    @property
    def shares(self) -> Mapping[tuple[str, str], float]:
        """The user, address or group that a part counts for, and the share that each may take."""
        if self.user is not None:
            return {("user", self.user): _ONE_SHARE}
        shares = {("anonymous", ""): _ANONYMOUS_SHARE}
        if self.address is not None:
            shares["address", self.address] = _ONE_SHARE
        return shares


@dataclass(slots=True, eq=False)
class _Waiter:
    party: Party
    amount: int
    granted: asyncio.Future[None]


class Pool:
    """An amount of which clients take parts, in the order in which they ask, up to their shares.

    Attributes:
        total: the amount.
        used: what is taken of it.

    Args:
        wait_seconds: how long a client waits for its part at most.
    """

    def __init__(self, total: int, wait_seconds: float) -> None:
        self.total = total
        self.used = 0
        self._wait_seconds = wait_seconds
        self._used_by: Counter[tuple[str, str]] = Counter()
        self._waiters: deque[_Waiter] = deque()

    def share(self, party: Party) -> int:
        """The most that may be taken on behalf of a party."""
        return int(self.total * min(party.shares.values()))

    async def take(self, party: Party, amount: int) -> None:
        """Wait for an amount, and take it; `give_back` it later.

        Raises:
            Busy: so much was not free in time. Nothing is taken.
        """
        waiter = _Waiter(party, amount, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._grant()
        try:
            if not waiter.granted.done():
                async with asyncio.timeout(self._wait_seconds):
                    await waiter.granted
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._grant()  # those behind it
            else:
                self.give_back(party, amount)
            if isinstance(error, TimeoutError):
                raise Busy from None
            raise

    @contextlib.asynccontextmanager
    async def part(self, party: Party, amount: int) -> AsyncIterator[None]:
        """Hold an amount while the context lasts.

        Args:
            amount: at most `share`.

        Raises:
            Busy: so much was not free in time.
        """
        await self.take(party, amount)
        try:
            yield
        finally:
            self.give_back(party, amount)

    def give_back(self, party: Party, amount: int) -> None:
        """Give back what was taken for a party, or a part of it."""
        self.used -= amount
        for each in party.shares:
            self._used_by[each] -= amount
            if not self._used_by[each]:
                del self._used_by[each]
        self._grant()

    def _grant(self) -> None:
        """Serve waiters in order. One whose share is used up does not delay others.

        In a storm thousands wait, so nothing is looked at that cannot be served.
        """
        passed: list[_Waiter] = []
        while self._waiters and self.used < self.total:
            waiter = self._waiters.popleft()
            shares = waiter.party.shares
            if waiter.granted.done() or any(  # cancelled, or
                self._used_by[each] + waiter.amount > int(self.total * share)
                for each, share in shares.items()
            ):
                passed.append(waiter)
                continue
            if self.used + waiter.amount > self.total:
                passed.append(waiter)
                break
            self.used += waiter.amount
            for each in shares:
                self._used_by[each] += waiter.amount
            waiter.granted.set_result(None)
        self._waiters.extendleft(reversed(passed))
