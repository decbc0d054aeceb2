"""Admits plain clients together: new ones that ask for nothing but what their token gives them.

That is nearly every client of a storm. A task, its time limit and its waiting for Redis cost more
than all other work for such a handshake (docs/decisions/0023-what-a-handshake-costs.md). So the
token is checked at once, all clients that have come meanwhile wait for one join of their audiences,
and then all are welcomed. `clarion_gateway.clients.admission` has the rules for each of them, and
admits all other clients itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from clarion_contract.events.audience import Audience
from clarion_contract.identity.claims import Claims
from clarion_contract.service.supervisor import Spawn
from clarion_gateway.clients.admission import Admission, Joining
from clarion_gateway.clients.opening import Opening
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.identity import Identity

# Joins under way. A client that comes meanwhile waits for the first of them to end. With one, it
# would wait for all of it; with many, each would serve few clients.
_JOINS_AT_ONCE: Final = 2
# Between the beginnings of two joins. Each takes a task, a command to Redis and a share of a probe,
# so clients of a slow storm are gathered, too. A client that comes alone never waits.
_BETWEEN_JOINS_SECONDS: Final = 0.01
# Clients that one join serves: to welcome them keeps the event loop busy for a few milliseconds.
_CLIENTS_PER_JOIN: Final = 128


@dataclass(slots=True, eq=False)
class _Client:
    """A client that waits for its audiences.

    Attributes:
        address: where it is; None: not known.
        began: on the clock `time.perf_counter`.
        until: when its handshake must be over, on the loop's clock.
    """

    connection: Connection
    address: str | None
    claims: Claims | None
    identity: Identity
    audiences: list[Audience]
    began: float
    until: float


class PlainHandshakes:
    """The plain clients that wait to be welcomed, in the order in which they came.

    Args:
        seconds: a handshake may take.
        welcomed: called with each connection that has got its `welcome`.
    """

    def __init__(
        self,
        admission: Admission,
        subscription: Joining,
        spawn: Spawn,
        *,
        seconds: float,
        welcomed: Callable[[Connection], None],
    ) -> None:
        self._admission = admission
        self._subscription = subscription
        self._spawn = spawn
        self._seconds = seconds
        self._welcomed = welcomed
        self._waiting: deque[_Client] = deque()
        self._joins = 0
        self._began_at = -math.inf  # the newest of them, on the loop's clock
        self._is_due = False

    def take(self, connection: Connection, opening: Opening) -> bool:
        """Take a client whose handshake `Admission.begin` has counted.

        It is welcomed later, or refused, at once or later. False: it is not plain, and
        `Admission.open` has to admit it.
        """
        began = time.perf_counter()
        try:
            identified = self._admission.plain(connection, opening)
        except Exception as error:  # noqa: BLE001 - the edge: one socket's bug must not end others
            outcome = self._admission.refuse(connection, error)
            self._admission.end(connection, opening.address, outcome, began)
            return True
        if identified is None:
            return False
        until = asyncio.get_running_loop().time() + self._seconds
        self._waiting.append(_Client(connection, opening.address, *identified, began, until))
        self._arrange()
        return True

    def _arrange(self) -> None:
        """Let the next join begin as soon as it may, if clients wait for one."""
        if self._is_due or not self._waiting or self._joins >= _JOINS_AT_ONCE:
            return
        self._is_due = True
        loop = asyncio.get_running_loop()
        wait_seconds = self._began_at + _BETWEEN_JOINS_SECONDS - loop.time()
        if wait_seconds > 0:
            loop.call_later(wait_seconds, self._begin)
        else:
            loop.call_soon(self._begin)  # those that come in this pass of the loop share the join

    def _begin(self) -> None:
        """Begin to join for the clients that wait."""
        self._is_due = False
        self._began_at = asyncio.get_running_loop().time()
        clients = list(islice(self._waiting, _CLIENTS_PER_JOIN))
        for _ in clients:
            self._waiting.popleft()
        self._joins += 1
        self._spawn("handshake", self._join(clients))

    async def _join(self, clients: Sequence[_Client]) -> None:
        """Join the audiences of clients, then admit each of them."""
        error: Exception | None = None
        try:
            # Clients come in order, so the first one's time is up before that of all others.
            async with asyncio.timeout_at(clients[0].until):
                audiences = [each for client in clients for each in client.audiences]
                await self._subscription.join(audiences)
        except Exception as failure:  # noqa: BLE001 - the edge: each client is told
            error = failure
        finally:
            self._joins -= 1
        if isinstance(error, TimeoutError):
            clients = self._give_back(clients)
        for client in clients:
            self._finish(client, error)
        self._arrange()

    def _give_back(self, clients: Sequence[_Client]) -> Sequence[_Client]:
        """Let clients that have time left wait for another join; returns the others."""
        now = asyncio.get_running_loop().time()
        late = [client for client in clients if client.until <= now] or clients[:1]
        self._waiting.extendleft(reversed(clients[len(late) :]))
        return late

    def _finish(self, client: _Client, error: Exception | None) -> None:
        """Welcome a client, or refuse it for the error."""
        connection, admission = client.connection, self._admission
        outcome = "accepted"
        try:
            if connection.state is State.CLOSED:
                outcome = "abandoned"
            elif error is not None:
                outcome = admission.refuse(connection, error)
            else:
                admission.admit(connection, client.claims, client.identity)
                self._welcomed(connection)
        except Exception as failure:  # noqa: BLE001 - one client's bug is not another's
            outcome = admission.refuse(connection, failure)
        finally:
            admission.end(connection, client.address, outcome, client.began)
