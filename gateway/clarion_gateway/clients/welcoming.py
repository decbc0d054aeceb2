"""Welcomes clients: registers their connections, and tells each from which position it hears.

`clarion_gateway.clients.admission` calls it for clients that it has let in. A client that comes
back catches up first (`clarion_gateway.clients.resumption`), and new events wait for it meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from clarion_contract.events.audience import Audience
from clarion_contract.events.errors import BusUnavailable
from clarion_gateway.clients.opening import Opening
from clarion_gateway.clients.recall import InvalidPast, Past, Recall
from clarion_gateway.clients.resumption import Collected, Resumption, Sent
from clarion_gateway.clients.topics import NOTHING_ASKED, Asked, heard
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Refused
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.identity import Identity
from clarion_gateway.delivery.missed import Missed
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.delivery.shares import Busy
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.wire.format import TopicsHeard, Welcome


class Welcoming:
    """The last part of a handshake, from the moment at which the pod hears all for the client."""

    def __init__(
        self,
        hub: Hub,
        delivery: Delivery,
        resumption: Resumption,
        recall: Recall,
        metrics: Metrics,
        settings: GatewaySettings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hub = hub
        self._delivery = delivery
        self._resumption = resumption
        self._recall = recall
        self._metrics = metrics
        self._settings = settings
        self._clock = clock

    def past(
        self, last: str | None, asked: Sequence[Audience], audiences: Sequence[Audience]
    ) -> Past | None:
        """The past of topics that a client gets if it does not resume; None: nothing.

        Raises:
            Refused: it asks for a past that cannot be.
        """
        try:
            topics = [audience for audience in audiences if audience.shown]
            return self._recall.opening_past(last, asked, topics)
        except InvalidPast as invalid:
            raise Refused(close_codes.invalid_last(str(invalid))) from None

    async def begin(
        self, connection: Connection, identity: Identity, asked: Asked, past: Past | None
    ) -> None:
        """Register and welcome a client that does not come back, or has no position."""
        self._hub.add(connection, identity, asked.granted, catching_up=past is not None)
        await self._welcome_new(connection, asked, past, resumed=None)

    def begin_at_once(self, connection: Connection, identity: Identity) -> None:
        """The same for a client that asks for nothing."""
        self._hub.add(connection, identity)
        self._welcome_here(connection, NOTHING_ASKED, resumed=None)

    def hold(
        self, connection: Connection, identity: Identity, asked: Asked = NOTHING_ASKED
    ) -> None:
        """Register a client that comes back. New events wait for it from now on."""
        self._hub.add(connection, identity, asked.granted, catching_up=True)

    async def resume(
        self,
        connection: Connection,
        since: int,
        opening: Opening,
        asked: Asked = NOTHING_ASKED,
        past: Past | None = None,
    ) -> list[Sent] | None:
        """Welcome a client that was registered by `hold`; returns what it missed, to be sent.

        None: it cannot recover, and is not welcomed.
        """
        outcome = "not_resumed"
        try:
            missed = await self._resumption.collect(
                connection, since, opening.resumes, opening.address
            )
        except Busy:
            missed, outcome = None, "busy"
        if connection.state is State.CLOSED:
            return []
        if opening.recovering is not None and missed is not None and missed.not_resumed:
            missed = None  # there is no word for a recovery of some topics only
        if missed is None:
            self._metrics.resumes.labels(outcome).inc()
            if opening.recovering is not None:
                return None
            await self._welcome_new(connection, asked, past, resumed=False)
            return []
        self._welcome_back(connection, since, opening, asked, missed)
        return missed.items

    async def glance(self, clients: Sequence[tuple[Connection, int]]) -> list[Missed | None]:
        """See `Resumption.glance`."""
        return await self._resumption.glance(clients)

    def resume_at_once(
        self, connection: Connection, since: int, opening: Opening, found: Missed
    ) -> list[Sent]:
        """`resume` for a client that asks for nothing, with what `glance` has found.

        Returns:
            What is left to be sent. If there is nothing, the client is live.
        """
        missed = self._resumption.collected(connection, found, opening.resumes)
        if missed is None:
            self._metrics.resumes.labels("not_resumed").inc()
            self._welcome_here(connection, NOTHING_ASKED, resumed=False)
            return []
        self._welcome_back(connection, since, opening, NOTHING_ASKED, missed)
        return [] if self._resumption.send_at_once(connection, missed.items) else missed.items

    async def send(self, connection: Connection, missed: Sequence[Sent]) -> None:
        """See `Resumption.send`."""
        await self._resumption.send(connection, missed)

    def end(self, connection: Connection) -> None:
        """See `Resumption.end`."""
        self._resumption.end(connection)

    async def _welcome_new(
        self, connection: Connection, asked: Asked, past: Past | None, *, resumed: bool | None
    ) -> None:
        """Welcome a client that begins here; the past of its topics follows its ``welcome``.

        If there is a past, the connection holds new events back while it is read. These were
        delivered before the ``welcome``.
        """
        if past is None:
            self._welcome_here(connection, asked, resumed=resumed)
            return
        topics = [audience for audience in connection.audiences if audience.shown]
        try:
            seconds = self._settings.handshake_seconds
            async with self._recall.between_rounds(connection, topics, past, seconds) as recalled:
                if connection.state is State.CLOSED or recalled is None:
                    return
                self._hub.go_live(connection)
                self._welcome_here(connection, asked, resumed=resumed)
                self._recall.tell(connection, topics, recalled)
        except Busy:
            raise BusUnavailable("too many clients ask for the past of topics") from None

    def _welcome_here(self, connection: Connection, asked: Asked, *, resumed: bool | None) -> None:
        """Welcome a client that begins at the position of the pod."""
        if resumed is False:
            self._hub.go_live(connection)
        position = self._delivery.position
        self._welcome(connection, position, heard(connection, asked), resumed=resumed)

    def _welcome_back(
        self, connection: Connection, since: int, opening: Opening, asked: Asked, missed: Collected
    ) -> None:
        """Welcome a client that goes on where it was."""
        self._metrics.resumes.labels("resumed").inc()
        self._metrics.topics_not_resumed.inc(len(missed.not_resumed))
        topics = heard(connection, asked, missed.not_resumed)
        recovers = None if opening.recovering is None else opening.recovering.pid
        self._welcome(connection, since, topics, resumed=True, recovers=recovers)

    def _welcome(
        self,
        connection: Connection,
        position: int,
        topics: TopicsHeard | None,
        *,
        resumed: bool | None,
        recovers: str | None = None,
    ) -> None:
        welcome = Welcome(
            connection.id,
            connection.user,
            self._settings.pod,
            position,
            resumed,
            connection.identity.expires_in(self._clock()),
            self._settings.ping_interval_seconds,
            topics,
            recovers,
            self._settings.sse_messages,
        )
        connection.write(connection.format.welcome(welcome))
