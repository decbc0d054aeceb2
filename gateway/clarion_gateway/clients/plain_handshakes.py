"""Admits plain clients together: those that ask for nothing but what their token gives them.

They may come back and go on from a position. That is nearly every client of a storm. A task, its
time limit and its waiting for Redis cost more than all other work for such a handshake
(docs/decisions/0023-what-a-handshake-costs.md). So the token is checked at once, and all clients
that have come meanwhile wait for one join of their audiences. Then all new ones are welcomed. For
all that come back, one read of Redis finds what they missed. `clarion_gateway.clients.admission`
has the rules for each of them, and admits all other clients itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

import structlog

from clarion_contract.service.supervisor import Spawn
from clarion_gateway.clients.admission import Admission, Joining, Plain
from clarion_gateway.clients.opening import Opening
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.delivery.missed import Missed

# Joins under way, each with what follows for clients that come back. A client that comes meanwhile
# waits for the first of them to end. With one, it would wait for all of it; with many, each would
# serve few clients.
_JOINS_AT_ONCE: Final = 2
# Between the beginnings of two joins. Each takes a task, a command to Redis and a share of a probe,
# so clients of a slow storm are gathered, too. A client that comes alone never waits.
_BETWEEN_JOINS_SECONDS: Final = 0.01
# Clients that one join serves: to welcome them keeps the event loop busy for a few milliseconds.
_CLIENTS_PER_JOIN: Final = 128
# Clients that come back and are welcomed before the event loop goes on: about 3 ms.
_CLIENTS_PER_STEP: Final = 32

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Client:
    """A client that waits for its audiences, or for what it missed.

    Attributes:
        began: on the clock `time.perf_counter`.
        until: when its handshake must be over, on the loop's clock.
    """

    connection: Connection
    plain: Plain
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
            plain = self._admission.plain(connection, opening)
        except Exception as error:  # noqa: BLE001 - the edge: one socket's bug must not end others
            outcome = self._admission.refuse(connection, error)
            self._admission.end(connection, opening.address, outcome, began)
            return True
        if plain is None:
            return False
        until = asyncio.get_running_loop().time() + self._seconds
        self._waiting.append(_Client(connection, plain, began, until))
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
        try:
            await self._join_and_admit(clients)
        finally:
            self._joins -= 1
        self._arrange()

    async def _join_and_admit(self, clients: Sequence[_Client]) -> None:
        error: Exception | None = None
        try:
            # Clients come in order, so the first one's time is up before that of all others.
            async with asyncio.timeout_at(clients[0].until):
                audiences = [each for client in clients for each in client.plain.audiences]
                await self._subscription.join(audiences)
        except Exception as failure:  # noqa: BLE001 - the edge: each client is told
            error = failure
        if isinstance(error, TimeoutError):
            clients = self._give_back(clients)
        returning = [client for client in clients if not self._finish(client, self._admit, error)]
        if returning:
            await self._resume(returning)

    def _give_back(self, clients: Sequence[_Client]) -> Sequence[_Client]:
        """Let clients that have time left wait for another join; returns the others."""
        now = asyncio.get_running_loop().time()
        late = [client for client in clients if client.until <= now] or clients[:1]
        self._waiting.extendleft(reversed(clients[len(late) :]))
        return late

    async def _resume(self, clients: Sequence[_Client]) -> None:
        """Welcome clients that come back, and let them catch up."""
        found: Sequence[Missed | None] = [None] * len(clients)
        try:
            async with asyncio.timeout_at(clients[0].until):
                found = await self._admission.welcoming.glance(
                    [(client.connection, client.plain.since or 0) for client in clients]
                )
        except TimeoutError:
            _log.warning("nothing read in time for clients that come back together")
        except Exception:  # noqa: BLE001 - the edge: each client finds out for itself
            _log.exception("nothing read for clients that come back together")
        for place, (client, missed) in enumerate(zip(clients, found, strict=True), 1):
            if missed is None:
                # It needs more than a glance.
                plain, connection = client.plain, client.connection
                alone = self._admission.resume(connection, plain, client.began, client.until)
                self._spawn("handshake", self._welcomed_after(alone, connection))
            else:
                self._finish(client, partial(self._resume_at_once, found=missed))
            if not place % _CLIENTS_PER_STEP:
                await asyncio.sleep(0)

    def _admit(self, client: _Client) -> bool:
        self._admission.admit(client.connection, client.plain)
        if client.plain.since is not None:
            return False
        self._welcomed(client.connection)
        return True

    def _resume_at_once(self, client: _Client, found: Missed) -> bool:
        connection = client.connection
        left = self._admission.resume_at_once(connection, client.plain, found)
        if left:
            sending = self._admission.welcoming.send(connection, left)
            self._spawn("handshake", self._welcomed_after(sending, connection))
        else:
            self._welcomed(connection)
        return True

    async def _welcomed_after(
        self, catching_up: Coroutine[None, None, None], connection: Connection
    ) -> None:
        """Let a client catch up in a task of its own."""
        await catching_up
        if connection.state is not State.CLOSED:
            self._welcomed(connection)

    def _finish(
        self,
        client: _Client,
        step: Callable[[_Client], bool],
        error: Exception | None = None,
    ) -> bool:
        """Take a step that may be the last one of a handshake, or refuse the client for the error.

        Returns:
            Whether the handshake is over.
        """
        connection, admission = client.connection, self._admission
        is_over, outcome = True, "accepted"
        try:
            if connection.state is State.CLOSED:
                outcome = "abandoned"
            elif error is not None:
                outcome = admission.refuse(connection, error)
            else:
                is_over = step(client)
        except Exception as failure:  # noqa: BLE001 - one client's bug is not another's
            outcome = admission.refuse(connection, failure)
        finally:
            if is_over:
                admission.end(connection, client.plain.opening.address, outcome, client.began)
        return is_over
