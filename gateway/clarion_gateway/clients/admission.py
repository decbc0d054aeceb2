"""Authenticates clients and registers their connections.

`clarion_gateway.clients.sessions` calls it for each handshake. A handshake takes one short task,
and no task is left afterwards. Each reason to refuse a client is a
row of `clarion_gateway.connections.close_codes`, and each refusal is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog
from msgspec import structs

from clarion_contract.events.audience import Audience
from clarion_contract.events.errors import BusUnavailable, KeysUnavailable
from clarion_contract.events.event import InvalidPosition, parse_position
from clarion_contract.identity.claims import Claims
from clarion_gateway.clients.address_limits import AddressLimits
from clarion_gateway.clients.grants import Grants
from clarion_gateway.clients.hooks import ConnectionHooks, Said
from clarion_gateway.clients.identification import Identification, Identified
from clarion_gateway.clients.opening import Opening
from clarion_gateway.clients.recall import InvalidPast, Past, Recall
from clarion_gateway.clients.recoveries import Recoveries
from clarion_gateway.clients.resumption import Resumption, Sent
from clarion_gateway.clients.topics import Asked, Topics, heard
from clarion_gateway.clients.user_limits import UserLimits
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close, Refused
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.identity import Identity
from clarion_gateway.connections.keepalive import Sweeper
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.delivery.shares import Busy
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.wire.format import TopicsHeard, Welcome, WireFormat

_log = structlog.get_logger(__name__)


class Joining(Protocol):
    """The part of `clarion_gateway.bus.subscription.Subscription` that admission uses."""

    async def join(self, audiences: Collection[Audience]) -> None:
        """Return when every event for the audiences above the pod's position will reach it."""
        ...

    def interned(self, audiences: Collection[Audience]) -> tuple[Audience, ...]:
        """The same audiences, as objects that all connections share."""
        ...


class Admission:
    """Opens connections.

    Attributes:
        address_limits: the limits on the handshakes of one address.
        draining: whether the pod takes no new clients, since it ends.
    """

    def __init__(  # noqa: PLR0913 - all that a handshake meets, joined in app.py
        self,
        hub: Hub,
        subscription: Joining,
        delivery: Delivery,
        resumption: Resumption,
        identification: Identification,
        metrics: Metrics,
        settings: GatewaySettings,
        *,
        users: UserLimits,
        topics: Topics,
        grants: Grants,
        recall: Recall,
        sweeper: Sweeper,
        hooks: ConnectionHooks | None = None,
        recoveries: Recoveries | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._users = users
        self._topics = topics
        self._grants = grants
        self._recall = recall
        self._sweeper = sweeper
        self._hooks = hooks
        self._recoveries = recoveries
        self._hub = hub
        self._subscription = subscription
        self._delivery = delivery
        self._resumption = resumption
        self._identification = identification
        self._metrics = metrics
        self._settings = settings
        self.address_limits = AddressLimits(
            per_second=settings.address_handshakes_per_second,
            burst=settings.address_handshake_burst,
            max_opening=settings.address_max_opening,
        )
        self._clock = clock
        self._opening = 0
        self.draining = False

    @property
    def opening(self) -> int:
        """The number of handshakes under way."""
        return self._opening

    def refuse_early(self, unconnected: int = 0) -> Close | None:
        """The close for every new client while the pod takes none; None: the pod takes clients.

        Asked before any work is spent on a handshake.

        Args:
            unconnected: sessions that count as connections without being any.
        """
        if self.draining:
            return close_codes.DRAINING
        unfinished = 0 if self._hooks is None else self._hooks.unfinished
        held = len(self._hub) + self._opening + unfinished + unconnected
        if held >= self._settings.max_connections:
            return close_codes.AT_CAPACITY
        return None

    def begin(self, address: str | None = None) -> None:
        """Count a handshake before it is waited for: else a burst could exceed the limits."""
        self._opening += 1
        self.address_limits.begin(address)

    async def open(self, connection: Connection, opening: Opening) -> None:
        """Admit a connection, or close it and say why. Call `begin` before. Never raises."""
        try:
            missed = await self._handshake(connection, opening)
            if connection.state is not State.CLOSED:
                self._sweeper.add(connection)
                await self._resumption.send(connection, missed)
        finally:
            self._resumption.end(connection)

    async def _handshake(self, connection: Connection, opening: Opening) -> list[Sent]:
        """Do everything up to `welcome`, and measure it.

        Returns:
            What the client missed, which the caller has to write.
        """
        started = time.perf_counter()
        outcome = "accepted"
        missed: list[Sent] = []
        try:
            async with asyncio.timeout(self._settings.handshake_seconds):
                missed = await self._open(connection, opening)
            if connection.state is State.CLOSED:
                outcome = "abandoned"
        except Exception as error:  # noqa: BLE001 - the edge: one socket's bug must not end others
            outcome = self.refuse(connection, error)
        finally:
            self.end(connection, opening.address, outcome, started)
        return missed

    def refuse(self, connection: Connection, error: Exception) -> str:
        """Close a connection whose handshake has failed; returns the outcome."""
        match error:
            case Refused():
                close = error.close
            case TimeoutError() | BusUnavailable() | KeysUnavailable():
                close = close_codes.UNAVAILABLE
                _log.warning("connection not opened", error=str(error) or "no bus in time")
            case _:
                close = close_codes.INTERNAL_ERROR
                _log.error("connection not opened", connection=connection.id, exc_info=error)
        connection.close(close)
        return close.label

    def end(self, connection: Connection, address: str | None, outcome: str, began: float) -> None:
        """A handshake that `begin` has counted is over.

        Args:
            address: as for `begin`.
            outcome: see `clarion_gateway.metrics.registry.Metrics.handshake`.
            began: when, on the clock `time.perf_counter`.
        """
        self._opening -= 1
        self.address_limits.end(address)
        seconds = time.perf_counter() - began
        self._metrics.handshake(connection.format.name, outcome, seconds)

    def plain(self, connection: Connection, opening: Opening) -> Identified | None:
        """Identify a client that can be admitted as soon as its audiences are joined.

        That is a new client that asks for nothing, and that concerns no function of the
        application. None: it is none of these, or its token needs the issuer's keys.

        Raises:
            Refused: as `open` would refuse it.
        """
        if (
            opening.since
            or opening.topics
            or opening.last is not None
            or opening.recovering is not None
            or (self._hooks is not None and self._hooks.mounted)
        ):
            return None
        identified = self._identification.identify_now(opening.token, connection.format.namespace)
        if identified is None:
            return None
        _, identity, audiences = identified
        self._users.check(identity.user)
        if any(audience.shown for audience in audiences):
            self._topics.check(audiences)
            if self._past(None, (), audiences) is not None:
                return None
        return identified

    def admit(self, connection: Connection, claims: Claims | None, identity: Identity) -> None:
        """Register and welcome a client that is `plain`, once its audiences are joined.

        Raises:
            Refused: something has changed since.
        """
        self._users.check(identity.user)
        self._identification.check_revoked(claims)
        self._hub.add(connection, identity)
        self._welcome(connection, self._delivery.position, heard(connection), resumed=None)
        self._sweeper.add(connection)

    async def _open(self, connection: Connection, opening: Opening) -> list[Sent]:
        """Authenticate, register and welcome a client; returns what it missed, to be written."""
        since = _since(opening.since)
        claims, identity, audiences = await self._identification.identify(
            opening.token, connection.format.namespace
        )
        self._users.check(identity.user)
        topics: Mapping[str, bool] = {}
        wire_format = connection.format
        if opening.recovering is not None and self._recoveries is not None:
            opening, since, topics = await self._recoveries.find(connection, opening, identity.user)
        names = dict.fromkeys([*opening.topics, *topics])
        asked = self._topics.ask(identity, (*names,))
        self._topics.check({*audiences, *asked.granted})
        if self._hooks is not None and self._hooks.mounted:
            said = Said(opening.query, opening.headers, opening.auth)
            await self._hooks.connect(connection, identity.user, claims, said)
        asked = await self._grants.ask(connection, identity.user, asked)
        if topics and self._recoveries is not None:
            asked = self._recoveries.restored(connection, asked, topics)
        self._topics.count(asked)
        if connection.asked:  # the application subscribed the connection when it let it in
            asked = replace(asked, granted=(*dict.fromkeys([*asked.granted, *connection.asked]),))
        if asked.granted:
            audiences = list(dict.fromkeys([*audiences, *asked.granted]))
            self._topics.check(audiences)
        past = self._past(opening.last, asked.granted, audiences)
        await self._subscription.join(audiences)
        self._users.check(identity.user)  # again: others may have come during the join
        self._identification.check_revoked(claims)
        if connection.state is State.CLOSED:
            return []
        if asked.granted:
            asked = replace(asked, granted=self._subscription.interned(asked.granted))
        self._replace_former(connection)
        if since is None:
            self._hub.add(connection, identity, asked.granted, catching_up=past is not None)
            await self._welcome_new(connection, asked, past, resumed=None)
            return []
        missed = await self._resume(connection, identity, since, opening, asked, past)
        if missed is None:
            return await self._open_anew(connection, opening, wire_format)
        return missed

    async def _open_anew(
        self, connection: Connection, opening: Opening, wire_format: WireFormat
    ) -> list[Sent]:
        """Open the connection of a client that cannot recover."""
        if self._recoveries is not None:
            await self._recoveries.give_up(connection, wire_format)
        if connection.state is State.CLOSED:
            return []
        return await self._open(connection, structs.replace(opening, recovering=None))

    async def _resume(
        self,
        connection: Connection,
        identity: Identity,
        since: int,
        opening: Opening,
        asked: Asked,
        past: Past | None,
    ) -> list[Sent] | None:
        """Register the connection with new events held back; welcome it, return what it missed.

        None: it cannot recover, and is not welcomed.
        """
        self._hub.add(connection, identity, asked.granted, catching_up=True)
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
        self._metrics.resumes.labels("resumed").inc()
        self._metrics.topics_not_resumed.inc(len(missed.not_resumed))
        topics = heard(connection, asked, missed.not_resumed)
        recovers = None if opening.recovering is None else opening.recovering.pid
        self._welcome(connection, since, topics, resumed=True, recovers=recovers)
        return missed.items

    def _past(
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

    async def _welcome_new(
        self, connection: Connection, asked: Asked, past: Past | None, *, resumed: bool | None
    ) -> None:
        """Welcome a client that begins here; the past of its topics follows its ``welcome``.

        If there is a past, the connection holds new events back while it is read. These were
        delivered before the ``welcome``.
        """
        if past is None:
            if resumed is False:
                self._hub.go_live(connection)
            position = self._delivery.position
            self._welcome(connection, position, heard(connection, asked), resumed=resumed)
            return
        topics = [audience for audience in connection.audiences if audience.shown]
        try:
            seconds = self._settings.handshake_seconds
            async with self._recall.between_rounds(connection, topics, past, seconds) as recalled:
                if connection.state is State.CLOSED or recalled is None:
                    return
                self._hub.go_live(connection)
                position = self._delivery.position
                self._welcome(connection, position, heard(connection, asked), resumed=resumed)
                self._recall.tell(connection, topics, recalled)
        except Busy:
            raise BusUnavailable("too many clients ask for the past of topics") from None

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

    def _replace_former(self, connection: Connection) -> None:
        """Cut the connection that this one recovers, if it is here and has not noticed its end."""
        former = self._hub.find(connection.id)
        if former is not None:
            former.cut(close_codes.ABNORMAL)


def _since(text: str | None) -> int | None:
    if text is None or not text:
        return None
    try:
        return parse_position(text)
    except InvalidPosition:
        raise Refused(close_codes.INVALID_SINCE) from None
