"""Authenticates clients and registers their connections.

`clarion_gateway.clients.sessions` calls it for each handshake. A handshake takes one short task,
and no task is left afterwards. Each reason to refuse a client is a
row of `clarion_gateway.connections.close_codes`, and each refusal is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

import structlog
from msgspec import structs

from clarion_contract.events.audience import Audience
from clarion_contract.events.errors import BusUnavailable, KeysUnavailable
from clarion_contract.events.event import InvalidPosition, parse_position
from clarion_contract.identity.claims import Claims
from clarion_gateway.clients.address_limits import AddressLimits
from clarion_gateway.clients.grants import Grants
from clarion_gateway.clients.hooks import ConnectionHooks, Said
from clarion_gateway.clients.identification import Identification
from clarion_gateway.clients.opening import Opening
from clarion_gateway.clients.recoveries import Recoveries
from clarion_gateway.clients.resumption import Sent
from clarion_gateway.clients.topics import Topics
from clarion_gateway.clients.user_limits import UserLimits
from clarion_gateway.clients.welcoming import Welcoming
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close, Refused
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.identity import Identity
from clarion_gateway.connections.keepalive import Sweeper
from clarion_gateway.delivery.missed import Missed
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.wire.format import WireFormat

_log = structlog.get_logger(__name__)


class Joining(Protocol):
    """The part of `clarion_gateway.bus.subscription.Subscription` that admission uses."""

    async def join(self, audiences: Collection[Audience]) -> None:
        """Return when every event for the audiences above the pod's position will reach it."""
        ...

    def interned(self, audiences: Collection[Audience]) -> tuple[Audience, ...]:
        """The same audiences, as objects that all connections share."""
        ...


class Plain(NamedTuple):
    """A client that asks for nothing but what its token gives it, and perhaps to go on.

    Attributes:
        claims: of its token; None: it has none.
        identity: for whom these speak.
        audiences: that take it in.
        opening: its wishes.
        since: the position from which it misses events; None: it begins anew.
    """

    claims: Claims | None
    identity: Identity
    audiences: list[Audience]
    opening: Opening
    since: int | None


class Admission:
    """Opens connections.

    Attributes:
        address_limits: the limits on the handshakes of one address.
        draining: whether the pod takes no new clients, since it ends.
        welcoming: registers and welcomes those that are let in.
    """

    def __init__(  # noqa: PLR0913 - all that a handshake meets, joined in app.py
        self,
        hub: Hub,
        subscription: Joining,
        welcoming: Welcoming,
        identification: Identification,
        metrics: Metrics,
        settings: GatewaySettings,
        *,
        users: UserLimits,
        topics: Topics,
        grants: Grants,
        sweeper: Sweeper,
        hooks: ConnectionHooks | None = None,
        recoveries: Recoveries | None = None,
    ) -> None:
        self._users = users
        self._topics = topics
        self._grants = grants
        self._sweeper = sweeper
        self._hooks = hooks
        self._recoveries = recoveries
        self._hub = hub
        self._subscription = subscription
        self.welcoming = welcoming
        self._identification = identification
        self._metrics = metrics
        self._settings = settings
        self.address_limits = AddressLimits(
            per_second=settings.address_handshakes_per_second,
            burst=settings.address_handshake_burst,
            max_opening=settings.address_max_opening,
        )
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
        until = asyncio.get_running_loop().time() + self._settings.handshake_seconds
        handshake = self._open(connection, opening)
        await self._finish(connection, opening.address, handshake, time.perf_counter(), until)

    async def resume(
        self, connection: Connection, plain: Plain, began: float, until: float
    ) -> None:
        """Let a client catch up by itself that `admit` has registered. Never raises.

        Args:
            began: see `end`.
            until: when its handshake must be over, on the loop's clock.
        """
        handshake = self._resume(connection, plain)
        await self._finish(connection, plain.opening.address, handshake, began, until)

    async def _finish(
        self,
        connection: Connection,
        address: str | None,
        handshake: Coroutine[None, None, list[Sent]],
        began: float,
        until: float,
    ) -> None:
        """Do the rest of a handshake, and measure it; then send what the client missed."""
        missed: list[Sent] = []
        outcome = "accepted"
        try:
            try:
                async with asyncio.timeout_at(until):
                    missed = await handshake
                if connection.state is State.CLOSED:
                    outcome = "abandoned"
            except Exception as error:  # noqa: BLE001 - the edge: one socket's bug ends no other
                outcome = self.refuse(connection, error)
            finally:
                self.end(connection, address, outcome, began)
            if connection.state is not State.CLOSED:
                self._sweeper.add(connection)
                await self.welcoming.send(connection, missed)
        finally:
            self.welcoming.end(connection)

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

    def plain(self, connection: Connection, opening: Opening) -> Plain | None:
        """Identify a client that can be admitted as soon as its audiences are joined.

        That is one that asks for nothing but to go on from its position, and that concerns no
        function of the application. None: it is none of these, or its token needs the issuer's
        keys.

        Raises:
            Refused: as `open` would refuse it.
        """
        if (
            opening.topics
            or opening.last is not None
            or opening.recovering is not None
            or (self._hooks is not None and self._hooks.mounted)
        ):
            return None
        since = _since(opening.since)
        identified = self._identification.identify_now(opening.token, connection.format.namespace)
        if identified is None:
            return None
        claims, identity, audiences = identified
        self._users.check(identity.user)
        if any(audience.shown for audience in audiences):
            self._topics.check(audiences)
            if since is not None or self.welcoming.past(None, (), audiences) is not None:
                return None
        return Plain(claims, identity, audiences, opening, since)

    def admit(self, connection: Connection, plain: Plain) -> None:
        """Register a client, once its audiences are joined. Welcome it unless it comes back.

        Raises:
            Refused: something has changed since it was found `plain`.
        """
        self._users.check(plain.identity.user)
        self._identification.check_revoked(plain.claims)
        if plain.since is not None:
            self.welcoming.hold(connection, plain.identity)
            return
        self.welcoming.begin_at_once(connection, plain.identity)
        self._sweeper.add(connection)

    def resume_at_once(self, connection: Connection, plain: Plain, found: Missed) -> list[Sent]:
        """Welcome a client that comes back and that `admit` has registered.

        Returns:
            See `Welcoming.resume_at_once`.
        """
        left = self.welcoming.resume_at_once(connection, plain.since or 0, plain.opening, found)
        self._sweeper.add(connection)
        return left

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
        past = self.welcoming.past(opening.last, asked.granted, audiences)
        await self._subscription.join(audiences)
        self._users.check(identity.user)  # again: others may have come during the join
        self._identification.check_revoked(claims)
        if connection.state is State.CLOSED:
            return []
        if asked.granted:
            asked = replace(asked, granted=self._subscription.interned(asked.granted))
        self._replace_former(connection)
        if since is None:
            await self.welcoming.begin(connection, identity, asked, past)
            return []
        self.welcoming.hold(connection, identity, asked)
        missed = await self.welcoming.resume(connection, since, opening, asked, past)
        if missed is None:
            return await self._open_anew(connection, opening, wire_format)
        return missed

    async def _resume(self, connection: Connection, plain: Plain) -> list[Sent]:
        since = plain.since or 0
        return await self.welcoming.resume(connection, since, plain.opening) or []

    async def _open_anew(
        self, connection: Connection, opening: Opening, wire_format: WireFormat
    ) -> list[Sent]:
        """Open the connection of a client that cannot recover."""
        if self._recoveries is not None:
            await self._recoveries.give_up(connection, wire_format)
        if connection.state is State.CLOSED:
            return []
        return await self._open(connection, structs.replace(opening, recovering=None))

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
